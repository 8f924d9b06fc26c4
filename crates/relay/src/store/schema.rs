//! The tables, as steps from one version of the schema to the next. A step that has been released never changes.

/// What makes each version out of the one before; the first makes version 1 out of an empty file.
pub(super) const STEPS: &[&str] = &[
    "
CREATE TABLE group_member (
    project INTEGER NOT NULL, grp INTEGER NOT NULL, user INTEGER NOT NULL,
    PRIMARY KEY (project, grp, user)
) WITHOUT ROWID;
CREATE INDEX group_by_member ON group_member (project, user);
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT, unique_id BLOB NOT NULL,
    project INTEGER NOT NULL, kind INTEGER NOT NULL, place INTEGER NOT NULL, sender INTEGER NOT NULL,
    mid INTEGER NOT NULL, mtype INTEGER NOT NULL, mtime INTEGER NOT NULL, body BLOB NOT NULL, attrs TEXT NOT NULL,
    blob TEXT
);
CREATE INDEX message_by_place ON message (project, kind, place, sender, id);
CREATE INDEX message_by_time ON message (mtime);
CREATE TABLE pending (
    project INTEGER NOT NULL, user INTEGER NOT NULL, kind INTEGER NOT NULL, conversation INTEGER NOT NULL,
    message INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    -- Bits of the dialects by which it is still to be delivered; 0: by the first that comes.
    want INTEGER NOT NULL,
    PRIMARY KEY (project, user, kind, conversation, message)
) WITHOUT ROWID;
CREATE UNIQUE INDEX pending_in_order ON pending (project, user, message);
CREATE INDEX pending_by_message ON pending (message);
CREATE TABLE revoked_token (
    project INTEGER NOT NULL, user TEXT NOT NULL,
    -- Tokens that were issued up to this second since 1970 are void.
    until INTEGER NOT NULL,
    PRIMARY KEY (project, user)
) WITHOUT ROWID;
",
    "
CREATE TABLE blob (
    -- 32 hexadecimal digits that nobody can guess: who knows them may read the content.
    id TEXT PRIMARY KEY,
    project INTEGER NOT NULL, size INTEGER NOT NULL,
    -- For people; cleaned.
    name TEXT NOT NULL,
    -- The content's BLAKE3, in hexadecimal digits.
    hash TEXT NOT NULL,
    -- In seconds since 1970.
    expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX blob_by_expiry ON blob (expires);
",
    "
-- Whoever watches what becomes of it at its recipients; NULL for nobody.
ALTER TABLE message ADD COLUMN watch BLOB;
-- How it stands there, as its sender was told last; 0 where nobody watches.
ALTER TABLE pending ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
CREATE TABLE receipt (
    number INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL, watch BLOB NOT NULL,
    kind INTEGER NOT NULL, place INTEGER NOT NULL, sender INTEGER NOT NULL, mid INTEGER NOT NULL,
    user INTEGER NOT NULL, standing INTEGER NOT NULL, code INTEGER NOT NULL,
    -- Milliseconds since 1970.
    time INTEGER NOT NULL
);
CREATE INDEX receipt_by_watch ON receipt (project, watch, number);
CREATE INDEX receipt_by_time ON receipt (time);
-- Names this file for ever, and with it the numbers of receipts.
CREATE TABLE store (id BLOB NOT NULL);
INSERT INTO store VALUES (randomblob(16));
",
    "
CREATE TABLE revoked_token_id (
    project INTEGER NOT NULL, id TEXT NOT NULL,
    -- When the token expires by itself, in seconds since 1970.
    expires INTEGER NOT NULL,
    PRIMARY KEY (project, id)
) WITHOUT ROWID;
",
    "
-- Checksums of the rows' other columns, so that a bit that changes on the disk is noticed.
ALTER TABLE message ADD COLUMN sum INTEGER;
UPDATE message SET sum =
    row_sum(unique_id, project, kind, place, sender, mid, mtype, mtime, body, attrs, blob, watch);
ALTER TABLE pending ADD COLUMN sum INTEGER;
UPDATE pending SET sum = row_sum(project, user, kind, conversation, message, want, told);
ALTER TABLE receipt ADD COLUMN sum INTEGER;
UPDATE receipt SET sum = row_sum(project, watch, kind, place, sender, mid, user, standing, code, time);
ALTER TABLE revoked_token ADD COLUMN sum INTEGER;
UPDATE revoked_token SET sum = row_sum(project, user, until);
ALTER TABLE revoked_token_id ADD COLUMN sum INTEGER;
UPDATE revoked_token_id SET sum = row_sum(project, id, expires);
ALTER TABLE blob ADD COLUMN sum INTEGER;
UPDATE blob SET sum = row_sum(id, project, size, name, hash, expires);
-- The values of the content's parts in BLAKE3's tree, 32 bytes each, where there is more than one part.
ALTER TABLE blob ADD COLUMN tree BLOB;
",
];

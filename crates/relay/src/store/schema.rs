//! The tables, as steps from one version of the schema to the next. A step that has been released never changes.

/// What makes each version out of the one before; the first makes version 1 out of an empty file.
pub(super) const STEPS: &[&str] = &["
CREATE TABLE group_member (
    project INTEGER NOT NULL, grp INTEGER NOT NULL, user INTEGER NOT NULL,
    PRIMARY KEY (project, grp, user)
) WITHOUT ROWID;
CREATE INDEX group_by_member ON group_member (project, user);
CREATE TABLE revoked_token (
    project INTEGER NOT NULL, user TEXT NOT NULL,
    -- Tokens that were issued up to this second since 1970 are void.
    until INTEGER NOT NULL,
    PRIMARY KEY (project, user)
) WITHOUT ROWID;
"];

//! Messages that servers have sent, and to whom each of them is still to be delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::id::TaskId;
use crvideo_proto::rtm::code;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tracing::{error, warn};

use super::receipts::{self, Bells, Receipt, Standing, Touched, Watch, note, note_all};
use super::sum::{MESSAGE, PENDING, ROW_SUM};
use super::{Database, StoreError};
use crate::shared::unix_micros;

/// What a message was sent to; the numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// One user.
    User = 1,
    /// A group.
    Group = 2,
    /// A room.
    Room = 3,
    /// Everybody.
    Everyone = 4,
}

/// The bit of our own dialect, among those by which a user can be reached.
pub(crate) const CR: u8 = 1;
/// The bit of the RTM dialect.
pub(crate) const RTM: u8 = 2;
/// Beside the dialects by which a message is still to be delivered: it has reached the user by another one.
const REACHED: u8 = 0x80;

/// A message to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    /// Project id.
    pub(crate) project: i64,
    /// What it is sent to.
    pub(crate) kind: Kind,
    /// The user, group or room; 0 for everybody.
    pub(crate) place: i64,
    /// The sender.
    pub(crate) from: i64,
    /// The sender's number of it.
    pub(crate) mid: i64,
    /// Message type.
    pub(crate) mtype: i8,
    /// Milliseconds since 1970.
    pub(crate) mtime: i64,
    /// The message itself.
    pub(crate) body: Bytes,
    /// JSON text.
    pub(crate) attrs: String,
    /// The stored file that it brings, if any.
    pub(crate) blob: Option<String>,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Grows with every message of the relay.
    pub(crate) id: i64,
    /// Names it for ever.
    pub(crate) unique: [u8; 16],
    /// What was stored.
    pub(crate) draft: Draft,
}

impl Stored {
    /// Names the message to one user for ever.
    pub(crate) fn task(&self, user: i64) -> TaskId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.unique);
        hasher.update(&user.to_le_bytes());
        let hash = hasher.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(hash.as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
        TaskId::random(bytes)
    }
}

/// How long and how much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLimits {
    /// What has not been delivered, and history, are forgotten after this time.
    pub(crate) keep: Duration,
    /// Undelivered messages of one conversation of one user; the oldest go first.
    pub(crate) per_conversation: u32,
    /// Messages of one project; the oldest go first.
    pub(crate) per_project: u32,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { keep: Duration::from_secs(7 * 24 * 3600), per_conversation: 500, per_project: 1_000_000 }
    }
}

/// Which part of a conversation is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// The newest first.
    pub(crate) newest_first: bool,
    /// At most this many.
    pub(crate) count: u32,
    /// Not before this time, in milliseconds since 1970.
    pub(crate) begin: Option<i64>,
    /// Not after this time.
    pub(crate) end: Option<i64>,
    /// Only those behind this one, in the order asked for.
    pub(crate) last_id: Option<i64>,
    /// Only these types; empty for all.
    pub(crate) mtypes: Vec<i64>,
}

/// Whose conversation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conversation {
    /// Between two users.
    Between(i64, i64),
    /// Of a group.
    Group(i64),
    /// Of a room.
    Room(i64),
    /// What everybody was sent.
    Everyone,
}

/// The messages in the database.
#[derive(Clone)]
pub(crate) struct Messages {
    database: Database,
    limits: MessageLimits,
    /// Who is woken for new receipts.
    bells: Arc<Bells>,
    /// Something was sent in this run whose sender watches.
    watched: Arc<AtomicBool>,
}

/// What is to be delivered to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The oldest of it, in order.
    pub(crate) messages: Vec<Stored>,
    /// The newest message of all that had been stored then, for whomever; 0 when there was none.
    pub(crate) newest: i64,
}

/// How a delivery has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Delivered,
    /// It will not be tried again, for this reason.
    Failed(i32),
}

/// Whoever was told that something is being delivered is told that it is stored.
const STORED: &str = "UPDATE pending SET told = 2, sum = row_sum(project, user, kind, conversation, message, want, 2)
    WHERE told = 1";

/// A message, and whether it is as it was stored.
const COLUMNS: &str = "m.id, m.unique_id, m.project, m.kind, m.place, m.sender, m.mid, m.mtype, m.mtime, m.body, m.attrs,
    m.blob, m.sum IS row_sum(m.unique_id, m.project, m.kind, m.place, m.sender, m.mid, m.mtype, m.mtime, m.body, m.attrs,
    m.blob, m.watch)";

/// A message, or only its number in the store when it is damaged, which the operator must know.
fn stored(row: &Row<'_>) -> rusqlite::Result<Result<Stored, i64>> {
    let id = row.get(0)?;
    if row.get::<_, bool>(12)? {
        return whole(row).map(Ok);
    }
    // What else the row says is said for what it is worth.
    let value = |at: usize| row.get::<_, rusqlite::types::Value>(at);
    let (project, from, mid) = (value(2)?, value(5)?, value(6)?);
    error!(id, ?project, ?from, ?mid, "a message is damaged in the database and is not given to anybody");
    Ok(Err(id))
}

fn whole(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let unique: Vec<u8> = row.get(1)?;
    let kind = match row.get::<_, u8>(3)? {
        1 => Kind::User,
        2 => Kind::Group,
        3 => Kind::Room,
        _ => Kind::Everyone,
    };
    Ok(Stored {
        id: row.get(0)?,
        unique: unique.try_into().unwrap_or_default(),
        draft: Draft {
            project: row.get(2)?,
            kind,
            place: row.get(4)?,
            from: row.get(5)?,
            mid: row.get(6)?,
            mtype: row.get(7)?,
            mtime: row.get(8)?,
            body: Bytes::from(row.get::<_, Vec<u8>>(9)?),
            attrs: row.get(10)?,
            blob: row.get(11)?,
        },
    })
}

impl Messages {
    /// The messages of a database.
    pub(crate) fn new(database: Database, limits: MessageLimits) -> Self {
        Self { database, limits, bells: Arc::default(), watched: Arc::default() }
    }

    /// Stores messages with the users that each is to be delivered to, and by which dialects (bits; 0: by the one that
    /// comes first). All or none. `watch` hears what becomes of them. When they are on disk, `then` gets them with their
    /// users, on the store's thread and in the order of their numbers; it must not wait.
    pub(crate) async fn put_then<R: Send + 'static>(
        &self,
        drafts: Vec<(Draft, Vec<(i64, u8)>)>,
        watch: Option<Watch>,
        then: impl FnOnce(Vec<(Stored, Vec<(i64, u8)>)>) -> R + Send + 'static,
    ) -> Result<R, StoreError> {
        let limit = self.limits.per_conversation;
        if watch.is_some() {
            self.watched.store(true, Ordering::Relaxed);
        }
        let work = move |db: &Connection, now, told: &mut Touched| {
            let put = |(draft, users): (Draft, Vec<_>)| {
                put(db, draft, &users, (limit, watch), now, told).map(|stored| (stored, users))
            };
            drafts.into_iter().map(put).collect()
        };
        self.noting_then(work, then).await
    }

    /// Stores messages: see [`Messages::put_then`].
    #[cfg(test)]
    pub(crate) async fn put(
        &self,
        drafts: Vec<(Draft, Vec<(i64, u8)>)>,
        watch: Option<Watch>,
    ) -> Result<Vec<Stored>, StoreError> {
        let then = |all: Vec<(Stored, Vec<(i64, u8)>)>| all.into_iter().map(|(stored, _)| stored).collect();
        self.put_then(drafts, watch, then).await
    }

    /// Runs `work`, which may note receipts, and wakes those whom they are for.
    async fn noting<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, i64, &mut Touched) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.noting_then(work, |outcome| outcome).await
    }

    /// The same, with what follows on the store's thread.
    async fn noting_then<T: Send + 'static, R: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, i64, &mut Touched) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(T) -> R + Send + 'static,
    ) -> Result<R, StoreError> {
        let work = move |db: &Connection| {
            let mut told = Touched::new();
            work(db, now_ms(), &mut told).map(|outcome| (outcome, told))
        };
        let (outcome, told) = self.database.run_then(work, |(outcome, told)| (then(outcome), told)).await?;
        self.bells.ring(&told);
        Ok(outcome)
    }

    /// What is to be delivered to a user by a dialect, the oldest first, behind `after`. `here` are the dialects in
    /// which the user is online: what has not reached him and waits for others than these goes by the first that comes.
    pub(crate) async fn waiting(
        &self,
        project: i64,
        user: i64,
        dialect: u8,
        here: u8,
        after: i64,
        most: u32,
    ) -> Result<Waiting, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM pending p JOIN message m ON m.id = p.message
             WHERE p.project = ?1 AND p.user = ?2 AND p.message > ?3
               AND (p.want & ?4 != 0 OR p.want & (?5 | {REACHED}) = 0)
             ORDER BY p.message LIMIT ?6"
        );
        self.noting(move |db, now, told| {
            loop {
                let mut query = db.prepare_cached(&sql)?;
                let found = query.query_map(params![project, user, after, dialect, here, most], stored)?;
                let found: Vec<Result<Stored, i64>> = found.collect::<rusqlite::Result<_>>()?;
                let damaged: Vec<i64> = found.iter().filter_map(|it| it.as_ref().err().copied()).collect();
                if damaged.is_empty() {
                    return Ok(Waiting { messages: found.into_iter().flatten().collect(), newest: newest(db)? });
                }
                // They wait no longer, so what is found next are others.
                let end = End::Failed(code::UNKNOWN);
                for message in damaged {
                    settle(db, (project, user, message), dialect, end, now, told)?;
                }
            }
        })
        .await
    }

    /// For which users of projects anything waits, by whichever dialect, and the newest message of all.
    pub(crate) async fn who_waits(&self, users: Vec<(i64, i64)>) -> Result<(Vec<(i64, i64)>, i64), StoreError> {
        self.database
            .run(move |db| {
                let mut any = db.prepare_cached("SELECT 1 FROM pending WHERE project = ? AND user = ? LIMIT 1")?;
                let mut waiting = Vec::new();
                for (project, user) in users {
                    if any.exists([project, user])? {
                        waiting.push((project, user));
                    }
                }
                Ok((waiting, newest(db)?))
            })
            .await
    }

    /// Messages have reached a user by a dialect: one of those that they waited for, or instead of them.
    pub(crate) async fn delivered(
        &self,
        project: i64,
        user: i64,
        messages: Vec<i64>,
        dialect: u8,
    ) -> Result<(), StoreError> {
        self.settle(project, user, messages, dialect, End::Delivered).await
    }

    /// The same for many: project, user and message of each.
    pub(crate) async fn all_delivered(&self, all: Vec<(i64, i64, i64)>, dialect: u8) -> Result<(), StoreError> {
        self.noting(move |db, now, told| {
            all.into_iter().try_for_each(|which| settle(db, which, dialect, End::Delivered, now, told))
        })
        .await
    }

    /// A message will not reach a user by a dialect; `why` is what its sender hears, if it does not reach him by another
    /// one.
    pub(crate) async fn failed(
        &self,
        project: i64,
        user: i64,
        message: i64,
        dialect: u8,
        why: i32,
    ) -> Result<(), StoreError> {
        self.settle(project, user, vec![message], dialect, End::Failed(why)).await
    }

    async fn settle(
        &self,
        project: i64,
        user: i64,
        messages: Vec<i64>,
        dialect: u8,
        end: End,
    ) -> Result<(), StoreError> {
        self.noting(move |db, now, told| {
            messages.into_iter().try_for_each(|message| settle(db, (project, user, message), dialect, end, now, told))
        })
        .await
    }

    /// A user is not there any more: whoever has been told that something is being delivered to him hears that it is
    /// kept.
    pub(crate) async fn away(&self, project: i64, user: i64) -> Result<(), StoreError> {
        if !self.watched.load(Ordering::Relaxed) {
            return Ok(());
        }
        let which = "p.told = 1 AND p.project = ?1 AND p.user = ?2";
        self.noting(move |db, now, told| {
            note_all(db, (Standing::Stored, 0), now, which, [project, user], told)?;
            db.prepare_cached(&format!("{STORED} AND project = ?1 AND user = ?2"))?.execute([project, user])?;
            Ok(())
        })
        .await
    }

    /// The relay has started, so nobody is there: see [`Messages::away`].
    pub(crate) async fn all_away(&self) -> Result<(), StoreError> {
        self.noting(|db, now, told| {
            note_all(db, (Standing::Stored, 0), now, "p.told = 1", [], told)?;
            db.execute(STORED, [])?;
            Ok(())
        })
        .await
    }

    /// Names the store for ever.
    pub(crate) async fn store_id(&self) -> Result<Watch, StoreError> {
        self.database.run(|db| db.query_row("SELECT id FROM store", [], |row| row.get(0))).await
    }

    /// Forgets a watch's receipts up to the number `told`, and reads the next ones.
    pub(crate) async fn receipts(
        &self,
        project: i64,
        watch: Watch,
        told: i64,
        most: u32,
    ) -> Result<Vec<Receipt>, StoreError> {
        self.database.run(move |db| receipts::next(db, project, &watch, told, most)).await
    }

    /// Who is woken for new receipts.
    pub(crate) fn bells(&self) -> &Bells {
        &self.bells
    }

    /// A part of a conversation.
    pub(crate) async fn history(
        &self,
        project: i64,
        of: Conversation,
        query: Query,
    ) -> Result<Vec<Stored>, StoreError> {
        self.database.run(move |db| history(db, project, of, &query)).await
    }

    /// The message with a number, by its sender and place.
    pub(crate) async fn find(
        &self,
        project: i64,
        kind: Kind,
        from: i64,
        place: i64,
        mid: i64,
    ) -> Result<Option<Stored>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM message m WHERE {BY_MID} ORDER BY m.id DESC LIMIT 1");
        self.database
            .run(move |db| {
                let found = db.query_row(&sql, params![project, kind as u8, place, from, mid], stored).optional()?;
                Ok(found.and_then(Result::ok))
            })
            .await
    }

    /// Forgets the message with a number; whether there was one.
    pub(crate) async fn forget(
        &self,
        project: i64,
        kind: Kind,
        from: i64,
        place: i64,
        mid: i64,
    ) -> Result<bool, StoreError> {
        let sql = format!("DELETE FROM message AS m WHERE {BY_MID}");
        self.noting(move |db, now, told| {
            let key = params![project, kind as u8, place, from, mid];
            note_all(db, (Standing::Failed, code::MESSAGE_NOT_FOUND), now, BY_MID, key, told)?;
            Ok(db.execute(&sql, key)? > 0)
        })
        .await
    }

    /// Forgets what is too old or too much. `now` in milliseconds since 1970.
    pub(crate) async fn sweep(&self, now: i64) -> Result<(), StoreError> {
        let keep = i64::try_from(self.limits.keep.as_millis()).unwrap_or(i64::MAX);
        let (before, most) = (now.saturating_sub(keep), self.limits.per_project);
        let surplus = self.noting(move |db, _, told| {
            let expired = (Standing::Failed, code::TIMEOUT);
            note_all(db, expired, now, "m.mtime < ?1", [before], told)?;
            db.execute("DELETE FROM message WHERE mtime < ?", [before])?;
            let mut query = db.prepare("SELECT project, count(*) FROM message GROUP BY project")?;
            let counts: Vec<(i64, i64)> =
                query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
            for (project, count) in counts {
                let surplus = count.saturating_sub(most.into());
                if surplus > 0 {
                    let oldest = "m.id IN (SELECT id FROM message WHERE project = ?1 ORDER BY id LIMIT ?2)";
                    let crowded = (Standing::Failed, code::QUEUE_FULL);
                    note_all(db, crowded, now, oldest, [project, surplus], told)?;
                    db.execute(&format!("DELETE FROM message AS m WHERE {oldest}"), [project, surplus])?;
                }
            }
            receipts::sweep(db, before)
        });
        let surplus = surplus.await?;
        if surplus > 0 {
            warn!(surplus, "receipts were forgotten because too many wait for programs that do not come back for them");
        }
        Ok(())
    }
}

fn now_ms() -> i64 {
    i64::try_from(unix_micros() / 1_000).unwrap_or(i64::MAX)
}

/// The number of the newest message.
fn newest(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT ifnull(max(id), 0) FROM message")?.query_row([], |row| row.get(0))
}

const BY_MID: &str = "m.project = ?1 AND m.kind = ?2 AND m.place = ?3 AND m.sender = ?4 AND m.mid = ?5";

fn put(
    db: &Connection,
    draft: Draft,
    users: &[(i64, u8)],
    (limit, watch): (u32, Option<Watch>),
    now: i64,
    told: &mut Touched,
) -> rusqlite::Result<Stored> {
    let mut unique = [0; 16];
    getrandom::fill(&mut unique).map_err(|error| {
        let error = std::io::Error::other(error.to_string());
        rusqlite::Error::ToSqlConversionFailure(Box::new(error))
    })?;
    let Draft { project, kind, place, from, mid, mtype, mtime, body, attrs, blob } = &draft;
    let values = "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12";
    db.prepare_cached(&format!("INSERT INTO message ({MESSAGE}, sum) VALUES ({values}, {ROW_SUM}({values}))"))?
        .execute(params![
            unique,
            project,
            *kind as u8,
            place,
            from,
            mid,
            mtype,
            mtime,
            &body[..],
            attrs,
            blob,
            watch
        ])?;
    let id = db.last_insert_rowid();
    // A user's conversation is with the other user, or with the group or room.
    let conversation = if *kind == Kind::User { *from } else { *place };
    let values = "?1, ?2, ?3, ?4, ?5, ?6, ?7";
    let mut add = db.prepare_cached(&format!(
        "INSERT OR IGNORE INTO pending ({PENDING}, sum) VALUES ({values}, {ROW_SUM}({values}))"
    ))?;
    let whose = "project = ?1 AND user = ?2 AND kind = ?3 AND conversation = ?4";
    let mut surplus = db.prepare_cached(&format!(
        "SELECT message FROM pending WHERE {whose} ORDER BY message DESC LIMIT 1 OFFSET ?5"
    ))?;
    for (user, want) in users {
        let first = if *want == 0 { Standing::Stored } else { Standing::Accepted };
        let standing = if watch.is_some() { first as u8 } else { 0 };
        add.execute(params![project, user, *kind as u8, conversation, id, want, standing])?;
        if watch.is_some() {
            note(db, (id, *user), (first, 0), now, told)?;
        }
        let mut found = surplus.query(params![project, user, *kind as u8, conversation, limit])?;
        let Some(newest) = found.next()?.map(|row| row.get::<_, i64>(0)).transpose()? else { continue };
        // What returns the rows that it changes takes a table of its own for them, so it is done only where there are any.
        let mut trim =
            db.prepare_cached(&format!("DELETE FROM pending WHERE {whose} AND message <= ?5 RETURNING message, told"))?;
        let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let trimmed = trim.query_map(params![project, user, *kind as u8, conversation, newest], pair)?;
        for (message, standing) in trimmed.collect::<rusqlite::Result<Vec<(i64, u8)>>>()? {
            if is_open(standing) {
                note(db, (message, *user), (Standing::Failed, code::QUEUE_FULL), now, told)?;
            }
        }
    }
    Ok(Stored { id, unique, draft })
}

/// Whether somebody watches, and has not been told of an end.
fn is_open(told: u8) -> bool {
    told == Standing::Accepted as u8 || told == Standing::Stored as u8
}

/// A delivery of a message to a user by one dialect has ended; it may still be due by another one.
fn settle(
    db: &Connection,
    (project, user, message): (i64, i64, i64),
    dialect: u8,
    end: End,
    now: i64,
    told: &mut Touched,
) -> rusqlite::Result<()> {
    let by = "WHERE project = ?1 AND user = ?2 AND message = ?3";
    // The most frequent of all cases in one step: it was due by this dialect alone, and nobody watches.
    let simple = format!("DELETE FROM pending {by} AND told NOT IN (1, 2) AND (want & ~?4 = 0 OR want & ?5 = 0)");
    let key = params![project, user, message, dialect | REACHED, dialect];
    if db.prepare_cached(&simple)?.execute(key)? > 0 {
        return Ok(());
    }
    let mut find = db.prepare_cached(&format!("SELECT want, told FROM pending {by}"))?;
    let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let Some((want, standing)) = find.query_row([project, user, message], pair).optional()? else { return Ok(()) };
    let (want, mut standing): (u8, u8) = (want, standing);
    let last = want & !(dialect | REACHED) == 0 || want & dialect == 0;
    let news = match end {
        End::Delivered => Some((Standing::Delivered, 0)),
        End::Failed(why) => last.then_some((Standing::Failed, why)),
    };
    if let Some((now_is, why)) = news.filter(|_| is_open(standing)) {
        note(db, (message, user), (now_is, why), now, told)?;
        standing = now_is as u8;
    }
    if last {
        db.prepare_cached(&format!("DELETE FROM pending {by}"))?.execute([project, user, message])?;
    } else {
        let want = want & !dialect | REACHED;
        let sum = format!("{ROW_SUM}(project, user, kind, conversation, message, ?4, ?5)");
        db.prepare_cached(&format!("UPDATE pending SET want = ?4, told = ?5, sum = {sum} {by}"))?
            .execute(params![project, user, message, want, standing])?;
    }
    Ok(())
}

fn history(db: &Connection, project: i64, of: Conversation, query: &Query) -> rusqlite::Result<Vec<Stored>> {
    let (kind, one, other) = match of {
        Conversation::Between(one, other) => (Kind::User, one, other),
        Conversation::Group(group) => (Kind::Group, group, group),
        Conversation::Room(room) => (Kind::Room, room, room),
        Conversation::Everyone => (Kind::Everyone, 0, 0),
    };
    let between = "((m.place = ?3 AND m.sender = ?4) OR (m.place = ?4 AND m.sender = ?3))";
    let whose = if kind == Kind::User { between } else { "m.place = ?3 AND ?3 = ?4" };
    let (behind, order) = if query.newest_first { ("<", "DESC") } else { (">", "ASC") };
    // The types are integers, so they cannot carry anything else into the statement.
    let types: Vec<String> = query.mtypes.iter().map(i64::to_string).collect();
    let types = if types.is_empty() { String::new() } else { format!("AND m.mtype IN ({})", types.join(",")) };
    let sql = format!(
        "SELECT {COLUMNS} FROM message m
         WHERE m.project = ?1 AND m.kind = ?2 AND {whose} AND m.mtime >= ?5 AND m.mtime <= ?6
           AND (?7 IS NULL OR m.id {behind} ?7) {types} ORDER BY m.id {order} LIMIT ?8"
    );
    let (begin, end) = (query.begin.unwrap_or(i64::MIN), query.end.unwrap_or(i64::MAX));
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement
        .query_map(params![project, kind as u8, one, other, begin, end, query.last_id, query.count], stored)?;
    found.filter_map(|it| it.map(Result::ok).transpose()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn draft(kind: Kind, from: i64, place: i64, mid: i64) -> Draft {
        let (body, attrs) = (Bytes::from_static(b"text"), "{}".to_owned());
        Draft { project: 1, kind, place, from, mid, mtype: 30, mtime: mid, body, attrs, blob: None }
    }

    fn messages(limits: MessageLimits) -> Messages {
        Messages::new(Database::open(None).unwrap(), limits)
    }

    async fn waiting(messages: &Messages, user: i64, dialect: u8) -> Vec<i64> {
        waiting_beside(messages, user, dialect, CR | RTM).await
    }

    async fn waiting_beside(messages: &Messages, user: i64, dialect: u8, here: u8) -> Vec<i64> {
        let waiting = messages.waiting(1, user, dialect, here, 0, 1_000).await.unwrap().messages;
        waiting.into_iter().map(|it| it.draft.mid).collect()
    }

    #[tokio::test]
    async fn what_waits_is_delivered_once_by_each_dialect_that_was_there_or_by_the_first_that_comes() {
        let messages = messages(MessageLimits::default());
        let first = draft(Kind::User, 7, 8, 1);
        let both = draft(Kind::User, 7, 8, 2);
        let stored = messages.put(vec![(first, vec![(8, 0)]), (both, vec![(8, 3)])], None).await.unwrap();
        assert_eq!(waiting(&messages, 8, CR).await, [1, 2]);
        for message in &stored {
            messages.delivered(1, 8, vec![message.id], CR).await.unwrap();
        }
        assert!(waiting(&messages, 8, CR).await.is_empty());
        assert_eq!(waiting(&messages, 8, RTM).await, [2]);
        messages.delivered(1, 8, vec![stored[1].id], RTM).await.unwrap();
        assert!(waiting(&messages, 8, RTM).await.is_empty());
        assert_ne!(stored[0].task(8), stored[0].task(9));
        assert_ne!(stored[0].task(8), stored[1].task(8));
    }

    #[tokio::test]
    async fn what_waits_for_a_dialect_that_has_gone_goes_by_the_other_one_but_not_twice() {
        let messages = messages(MessageLimits::default());
        let drafts = [(1, CR), (2, CR | RTM)].map(|(mid, want)| (draft(Kind::User, 7, 8, mid), vec![(8, want)]));
        let stored = messages.put(drafts.into(), None).await.unwrap();
        assert_eq!(waiting_beside(&messages, 8, RTM, CR | RTM).await, [2]);
        assert_eq!(waiting_beside(&messages, 8, RTM, RTM).await, [1, 2]);
        for message in &stored {
            messages.delivered(1, 8, vec![message.id], RTM).await.unwrap();
        }
        assert!(waiting_beside(&messages, 8, RTM, RTM).await.is_empty(), "it has come by this dialect already");
        assert_eq!(waiting_beside(&messages, 8, CR, CR).await, [2]);
        messages.delivered(1, 8, vec![stored[1].id], CR).await.unwrap();
        assert!(waiting_beside(&messages, 8, CR, CR).await.is_empty());
    }

    #[tokio::test]
    async fn the_oldest_of_a_conversation_give_way() {
        let messages = messages(MessageLimits { per_conversation: 3, ..MessageLimits::default() });
        for mid in 1..=5 {
            messages.put(vec![(draft(Kind::User, 7, 8, mid), vec![(8, 0)])], None).await.unwrap();
        }
        messages.put(vec![(draft(Kind::Group, 7, 70, 6), vec![(8, 0), (9, 0)])], None).await.unwrap();
        assert_eq!(waiting(&messages, 8, RTM).await, [3, 4, 5, 6]);
        assert_eq!(waiting(&messages, 9, RTM).await, [6]);
    }

    #[tokio::test]
    async fn conversations_are_read_in_both_directions_and_parts() {
        let messages = messages(MessageLimits::default());
        for (from, to, mid) in [(7, 8, 1), (8, 7, 2), (7, 9, 3), (7, 8, 4)] {
            messages.put(vec![(draft(Kind::User, from, to, mid), Vec::new())], None).await.unwrap();
        }
        messages.put(vec![(draft(Kind::Everyone, 7, 0, 5), Vec::new())], None).await.unwrap();
        let ask = async |of, query| {
            let found = messages.history(1, of, query).await.unwrap();
            found.into_iter().map(|it| it.draft.mid).collect::<Vec<_>>()
        };
        let all = Query { count: 20, ..Query::default() };
        assert_eq!(ask(Conversation::Between(8, 7), all.clone()).await, [1, 2, 4]);
        let newest = Query { newest_first: true, count: 2, ..Query::default() };
        assert_eq!(ask(Conversation::Between(7, 8), newest.clone()).await, [4, 2]);
        let last = messages.history(1, Conversation::Between(7, 8), newest.clone()).await.unwrap()[1].id;
        assert_eq!(ask(Conversation::Between(7, 8), Query { last_id: Some(last), ..newest }).await, [1]);
        assert_eq!(ask(Conversation::Everyone, all.clone()).await, [5]);
        let ranged = Query { begin: Some(2), end: Some(3), ..all.clone() };
        assert_eq!(ask(Conversation::Between(7, 8), ranged).await, [2]);
        assert!(ask(Conversation::Group(8), all.clone()).await.is_empty());
        assert!(ask(Conversation::Between(7, 8), Query { mtypes: vec![31], ..all }).await.is_empty());
    }

    #[tokio::test]
    async fn a_message_is_found_and_forgotten_by_its_number() {
        let messages = messages(MessageLimits::default());
        messages.put(vec![(draft(Kind::User, 7, 8, 1), vec![(8, 0)])], None).await.unwrap();
        assert!(messages.find(1, Kind::User, 7, 8, 1).await.unwrap().is_some());
        assert!(messages.find(2, Kind::User, 7, 8, 1).await.unwrap().is_none());
        assert!(messages.forget(1, Kind::User, 7, 8, 1).await.unwrap());
        assert!(!messages.forget(1, Kind::User, 7, 8, 1).await.unwrap());
        assert!(waiting(&messages, 8, CR).await.is_empty(), "it is not delivered any more");
    }

    #[tokio::test]
    async fn what_is_too_old_or_too_much_is_swept_away() {
        let limits = MessageLimits { keep: Duration::from_millis(10), per_project: 2, ..MessageLimits::default() };
        let messages = messages(limits);
        for mid in 1..=5 {
            messages.put(vec![(draft(Kind::User, 7, 8, mid), vec![(8, 0)])], None).await.unwrap();
        }
        messages.sweep(13).await.unwrap();
        assert_eq!(waiting(&messages, 8, CR).await, [4, 5]);
    }

    const WATCH: Watch = [7; 16];

    /// The receipts behind a number: user, message, standing, code.
    async fn receipts(messages: &Messages, told: i64) -> Vec<(i64, i64, i64, i64)> {
        let receipts = messages.receipts(1, WATCH, told, 1_000).await.unwrap();
        receipts.iter().map(|it| (it.user, it.mid, it.standing, it.code)).collect()
    }

    #[tokio::test]
    async fn what_is_swept_away_before_it_is_delivered_has_failed() {
        let limits = MessageLimits { keep: Duration::from_millis(10), per_project: 2, ..MessageLimits::default() };
        let messages = messages(limits);
        for mid in 1..=5 {
            let stored = messages.put(vec![(draft(Kind::User, 7, 8, mid), vec![(8, RTM)])], Some(WATCH)).await.unwrap();
            if mid == 1 {
                messages.delivered(1, 8, vec![stored[0].id], RTM).await.unwrap();
            }
        }
        let last = messages.receipts(1, WATCH, 0, 1_000).await.unwrap().last().unwrap().number;
        messages.sweep(13).await.unwrap();
        // The first has been delivered, the second is too old, and of the other three one is too many.
        let (expired, crowded) = ((8, 2, 4, code::TIMEOUT.into()), (8, 3, 4, code::QUEUE_FULL.into()));
        assert_eq!(receipts(&messages, last).await, [expired, crowded]);
        // Receipts that nobody has fetched go when they are as old.
        messages.sweep(24).await.unwrap();
        let left: Vec<i64> = receipts(&messages, last).await.iter().map(|(_, mid, ..)| *mid).collect();
        assert_eq!(left, [4, 5]);
    }

    #[tokio::test]
    async fn who_is_not_there_any_more_has_it_stored_once() {
        let messages = messages(MessageLimits::default());
        let to = |user, by| (draft(Kind::User, 7, user, user), vec![(user, by)]);
        messages.put(vec![to(8, CR), to(9, RTM), to(10, 0)], Some(WATCH)).await.unwrap();
        assert_eq!(receipts(&messages, 0).await, [(8, 8, 1, 0), (9, 9, 1, 0), (10, 10, 2, 0)]);
        messages.away(1, 8).await.unwrap();
        messages.away(1, 8).await.unwrap();
        messages.away(2, 9).await.unwrap();
        assert_eq!(receipts(&messages, 3).await, [(8, 8, 2, 0)]);
        messages.all_away().await.unwrap();
        messages.all_away().await.unwrap();
        assert_eq!(receipts(&messages, 4).await, [(9, 9, 2, 0)]);
    }

    #[tokio::test]
    async fn a_delivery_that_fails_is_final_when_no_other_dialect_is_left() {
        let messages = messages(MessageLimits::default());
        let drafts = [(1, CR), (2, CR | RTM), (3, CR | RTM)];
        let drafts = drafts.map(|(mid, want)| (draft(Kind::User, 7, 8, mid), vec![(8, want)]));
        let ids: Vec<i64> =
            messages.put(drafts.into(), Some(WATCH)).await.unwrap().iter().map(|stored| stored.id).collect();
        let started = messages.receipts(1, WATCH, 0, 1_000).await.unwrap().last().unwrap().number;
        for id in &ids {
            messages.failed(1, 8, *id, CR, 606).await.unwrap();
        }
        messages.failed(1, 8, ids[2], RTM, 1_400).await.unwrap();
        messages.delivered(1, 8, ids, RTM).await.unwrap();
        assert_eq!(receipts(&messages, started).await, [(8, 1, 4, 606), (8, 3, 4, 1_400), (8, 2, 3, 0)]);
    }

    #[tokio::test]
    async fn a_message_that_is_damaged_is_given_to_nobody_and_has_failed() {
        let messages = messages(MessageLimits::default());
        let drafts = [(1, CR), (2, CR | RTM), (3, 0)];
        let drafts = drafts.map(|(mid, want)| (draft(Kind::User, 7, 8, mid), vec![(8, want)]));
        let stored = messages.put(drafts.into(), Some(WATCH)).await.unwrap();
        let started = messages.receipts(1, WATCH, 0, 1_000).await.unwrap().last().unwrap().number;
        for (mid, damage) in [(1, "body = x'74657874' || x'00'"), (2, "mtype = mtype + 64")] {
            let sql = format!("UPDATE message SET {damage} WHERE mid = {mid}");
            messages.database.run(move |db| db.execute(&sql, [])).await.unwrap();
        }
        assert_eq!(waiting(&messages, 8, CR).await, [3]);
        assert_eq!(waiting(&messages, 8, RTM).await, [3]);
        assert_eq!(receipts(&messages, started).await, [(8, 1, 4, 20_001), (8, 2, 4, 20_001)]);
        let all = Query { count: 20, ..Query::default() };
        let history = messages.history(1, Conversation::Between(7, 8), all).await.unwrap();
        assert_eq!(history.iter().map(|it| it.draft.mid).collect::<Vec<_>>(), [3]);
        assert_eq!(history, stored[2..]);
        assert_eq!(messages.find(1, Kind::User, 7, 8, 1).await, Ok(None));
    }

    #[tokio::test]
    async fn a_receipt_that_is_damaged_is_told_to_nobody() {
        let messages = messages(MessageLimits::default());
        let drafts = [1, 2].map(|mid| (draft(Kind::User, 7, 8, mid), vec![(8, 0)]));
        messages.put(drafts.into(), Some(WATCH)).await.unwrap();
        let damage = "UPDATE receipt SET standing = 3 WHERE mid = 1";
        messages.database.run(move |db| db.execute(damage, [])).await.unwrap();
        assert_eq!(receipts(&messages, 0).await, [(8, 2, 2, 0)]);
    }
}

//! What has become of watched messages at their recipients, until whoever watches has heard of it: `docs/wire.md`
//! section 7. A receipt is written in the transaction of what it tells.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Params, Row, params};
use tokio::sync::Notify;

use super::sum::{RECEIPT, ROW_SUM};

/// Names a client that watches what becomes of the messages that it sends.
pub(crate) type Watch = [u8; 16];

/// Receipts of one project that wait; the oldest go first.
const MAX_RECEIPTS: i64 = 2_000_000;

/// How a message stands at a recipient; the numbers are the wire's. `pending.told` has the last one of which its sender
/// was told, 0 where nobody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Standing {
    /// He is there, and it is being delivered.
    Accepted = 1,
    /// He is not there, and it is kept for him.
    Stored = 2,
    /// It has reached him.
    Delivered = 3,
    /// It will never reach him.
    Failed = 4,
}

/// One standing of one message at one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Grows with every receipt of the store.
    pub(crate) number: i64,
    pub(crate) kind: i64,
    pub(crate) from: i64,
    pub(crate) place: i64,
    pub(crate) mid: i64,
    pub(crate) user: i64,
    pub(crate) standing: i64,
    /// Why it has failed, else 0.
    pub(crate) code: i64,
}

/// Those for whom there are new receipts, by project.
pub(super) type Touched = BTreeSet<(i64, Watch)>;

/// The columns of a receipt of a message `m`, but for user, standing, code and time.
const OF_MESSAGE: &str = "m.project, m.watch, m.kind, m.place, m.sender, m.mid";

/// The beginning of a statement that puts receipts in, up to where the messages come from. `rest` are the values of
/// user, standing, code and time.
fn into(rest: &str) -> String {
    format!("INSERT INTO receipt ({RECEIPT}, sum) SELECT {OF_MESSAGE}, {rest}, {ROW_SUM}({OF_MESSAGE}, {rest})")
}

fn touched(row: &Row<'_>) -> rusqlite::Result<(i64, Watch)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// Notes how a message stands at one recipient, if somebody watches it.
pub(super) fn note(
    db: &Connection,
    (message, user): (i64, i64),
    (standing, code): (Standing, i32),
    now: i64,
    all: &mut Touched,
) -> rusqlite::Result<()> {
    let sql = format!("{} FROM message m WHERE m.id = ?1 AND m.watch IS NOT NULL", into("?2, ?3, ?4, ?5"));
    if db.prepare_cached(&sql)?.execute(params![message, user, standing as u8, code, now])? > 0 {
        // To let the statement return this would cost a table for it, for each of thousands of recipients.
        let mut whose = db.prepare_cached("SELECT project, watch FROM message WHERE id = ?1")?;
        all.insert(whose.query_row([message], touched)?);
    }
    Ok(())
}

/// Notes how things stand now for those recipients `p` of messages `m` that `which` selects and whose end was not told.
pub(super) fn note_all(
    db: &Connection,
    (standing, code): (Standing, i32),
    now: i64,
    which: &str,
    key: impl Params,
    all: &mut Touched,
) -> rusqlite::Result<()> {
    // Integers cannot carry anything else into the statement.
    let standing = standing as u8;
    let sql = format!(
        "{} FROM message m JOIN pending p ON p.message = m.id
         WHERE p.told IN (1, 2) AND m.watch IS NOT NULL AND {which} RETURNING project, watch",
        into(&format!("p.user, {standing}, {code}, {now}"))
    );
    for row in db.prepare(&sql)?.query_map(key, touched)? {
        all.insert(row?);
    }
    Ok(())
}

/// Forgets the receipts of a watch up to a number, and reads the next ones.
pub(super) fn next(
    db: &Connection,
    project: i64,
    watch: &Watch,
    told: i64,
    most: u32,
) -> rusqlite::Result<Vec<Receipt>> {
    let mut forget = db.prepare_cached("DELETE FROM receipt WHERE project = ?1 AND watch = ?2 AND number <= ?3")?;
    forget.execute(params![project, watch, told])?;
    // One that is damaged would tell a lie; it stays until it is too old.
    let mut read = db.prepare_cached(&format!(
        "SELECT number, kind, sender, place, mid, user, standing, code FROM receipt
         WHERE project = ?1 AND watch = ?2 AND sum IS {ROW_SUM}({RECEIPT}) ORDER BY number LIMIT ?3",
    ))?;
    let receipt = |row: &Row<'_>| {
        Ok(Receipt {
            number: row.get(0)?,
            kind: row.get(1)?,
            from: row.get(2)?,
            place: row.get(3)?,
            mid: row.get(4)?,
            user: row.get(5)?,
            standing: row.get(6)?,
            code: row.get(7)?,
        })
    };
    read.query_map(params![project, watch, most], receipt)?.collect()
}

/// Forgets receipts from before a time, and what is too much; how many were too many.
pub(super) fn sweep(db: &Connection, before: i64) -> rusqlite::Result<usize> {
    db.execute("DELETE FROM receipt WHERE time < ?", [before])?;
    let mut query = db.prepare("SELECT project, count(*) FROM receipt GROUP BY project HAVING count(*) > ?")?;
    let counts: Vec<(i64, i64)> =
        query.query_map([MAX_RECEIPTS], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut surplus = 0;
    for (project, count) in counts {
        let oldest = "SELECT number FROM receipt WHERE project = ?1 ORDER BY number LIMIT ?2";
        let sql = format!("DELETE FROM receipt WHERE number IN ({oldest})");
        surplus += db.execute(&sql, [project, count - MAX_RECEIPTS])?;
    }
    Ok(surplus)
}

/// Who is woken when there are new receipts: for each watch the one who has asked last.
#[derive(Default)]
pub(crate) struct Bells(Mutex<HashMap<(i64, Watch), Arc<Notify>>>);

impl Bells {
    fn lock(&self) -> MutexGuard<'_, HashMap<(i64, Watch), Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `bell` is rung, and that of before no longer; it is rung once more, for its owner to see that.
    pub(crate) fn hang(&self, project: i64, watch: Watch, bell: Arc<Notify>) {
        if let Some(former) = self.lock().insert((project, watch), bell) {
            former.notify_one();
        }
    }

    /// Whether `bell` is the one that is rung.
    pub(crate) fn hangs(&self, project: i64, watch: Watch, bell: &Arc<Notify>) -> bool {
        self.lock().get(&(project, watch)).is_some_and(|hung| Arc::ptr_eq(hung, bell))
    }

    /// `bell` is not rung any more.
    pub(crate) fn take_down(&self, project: i64, watch: Watch, bell: &Arc<Notify>) {
        let mut bells = self.lock();
        if bells.get(&(project, watch)).is_some_and(|hung| Arc::ptr_eq(hung, bell)) {
            bells.remove(&(project, watch));
        }
    }

    pub(super) fn ring(&self, all: &Touched) {
        let bells = self.lock();
        all.iter().filter_map(|watch| bells.get(watch)).for_each(|bell| bell.notify_one());
    }
}

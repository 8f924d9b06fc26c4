//! SQLite on a thread of its own. Jobs that wait are done in one transaction, so that many cost one sync; each is
//! undone by itself when it fails, and nobody hears of a job's success before it is on disk.

use std::fmt;
use std::path::Path;
use std::sync::mpsc;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;
use tracing::error;

use super::schema::STEPS;
use super::{damage, sum};

/// Jobs in one transaction.
const MAX_BATCH: usize = 256;
/// Jobs that wait; whoever brings more waits, too.
const MAX_WAITING: usize = 4_096;
/// Statements that stay prepared: more than there are.
const STATEMENTS: usize = 64;
/// The file in the data directory.
const NAME: &str = "relay.sqlite";

/// Why something could not be stored or read. The operator finds the details in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError(pub String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the relay's store failed: {}", self.0)
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damage::damaged(&error.to_string()),
            _ => StoreError(error.to_string()),
        }
    }
}

/// Does a job; returns whether its work stands, and what tells its owner so once it is known whether the transaction
/// was committed.
type Job = Box<dyn FnOnce(&Connection) -> (bool, Done) + Send>;
type Done = Box<dyn FnOnce(Result<(), StoreError>)>;

/// The database. Clones share it; it closes when the last one is gone.
#[derive(Clone)]
pub struct Database {
    jobs: tokio::sync::mpsc::Sender<Job>,
}

impl Database {
    /// The database in a directory, which must exist; without one it lives in memory and ends with the process.
    pub fn open(directory: Option<&Path>) -> Result<Self, StoreError> {
        let path = directory.map(|directory| directory.join(NAME));
        let connection = match &path {
            Some(path) => {
                open_file(path).map_err(|error| StoreError(format!("the database {}: {}", path.display(), error.0)))?
            }
            None => {
                let mut connection = Connection::open_in_memory()?;
                prepare(&mut connection)?;
                connection
            }
        };
        let (jobs, receiver) = tokio::sync::mpsc::channel(MAX_WAITING);
        let (started, ready) = mpsc::channel();
        let thread = std::thread::Builder::new().name("relay-store".to_owned()).spawn(move || {
            let _ = started.send(());
            serve(connection, receiver);
        });
        thread.map_err(|error| StoreError(format!("no thread for the database ({error})")))?;
        ready.recv().map_err(|_| StoreError("the database's thread did not start".to_owned()))?;
        Ok(Self { jobs })
    }

    /// Does `work` inside a transaction and returns when that is on disk. An error of `work` undoes what it did, and
    /// nothing else.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run_then(work, |outcome| outcome).await
    }

    /// The same; when it is on disk, `then` gets the outcome, on the database's thread and in the order of the jobs. It
    /// must not wait.
    pub async fn run_then<T: Send + 'static, R: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(T) -> R + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = work(connection).map_err(StoreError::from);
            let stands = outcome.is_ok();
            let tell = move |committed: Result<(), StoreError>| {
                // Who asked may have gone meanwhile.
                let _ = answer.send(committed.and(outcome).map(then));
            };
            (stands, Box::new(tell))
        });
        let gone = || StoreError("the database's thread has ended".to_owned());
        self.jobs.send(job).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Opens a database file after a look for damage. Nothing is changed in one that is damaged.
fn open_file(path: &Path) -> Result<Connection, StoreError> {
    damage::check_files(path)?;
    let mut connection = Connection::open(path)?;
    damage::check_structure(&connection)?;
    prepare(&mut connection)?;
    damage::check_schema(&connection)?;
    damage::check_rows(&connection)?;
    Ok(connection)
}

fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    sum::install(connection)?;
    // With a write-ahead log and full syncs a commit that was confirmed survives a loss of power.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).map_err(|_| StoreError(format!("it has version {version}")))?;
    if done > STEPS.len() {
        return Err(StoreError(format!("its version {done} is newer than this program; update the relay")));
    }
    for (at, step) in STEPS.iter().enumerate().skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", at as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

fn serve(mut connection: Connection, mut jobs: tokio::sync::mpsc::Receiver<Job>) {
    let mut waiting = Vec::with_capacity(MAX_BATCH);
    while jobs.blocking_recv_many(&mut waiting, MAX_BATCH) > 0 {
        let mut done = Vec::with_capacity(waiting.len());
        let committed = transact(&mut connection, waiting.drain(..), &mut done);
        if let Err(failure) = &committed {
            error!(%failure, "the database cannot be written; is its disk full?");
        }
        for tell in done {
            tell(committed.clone());
        }
        // After a failure to begin, jobs are left of which nobody has heard: dropping them tells their owners.
        waiting.clear();
    }
}

fn transact(
    connection: &mut Connection,
    jobs: impl Iterator<Item = Job>,
    done: &mut Vec<Done>,
) -> Result<(), StoreError> {
    let mut transaction = connection.transaction()?;
    for job in jobs {
        // Dropping a savepoint undoes it.
        let savepoint = transaction.savepoint()?;
        let (stands, tell) = job(&savepoint);
        done.push(tell);
        if stands {
            savepoint.commit()?;
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    async fn groups(database: &Database) -> Result<i64, StoreError> {
        database.run(|db| db.query_row("SELECT count(*) FROM group_member", [], |row| row.get(0))).await
    }

    async fn add(database: &Database, user: i64) -> Result<usize, StoreError> {
        database.run(move |db| db.execute("INSERT INTO group_member VALUES (1, 1, ?)", [user])).await
    }

    #[tokio::test]
    async fn a_job_that_fails_undoes_itself_and_nothing_else() {
        let database = Database::open(None).unwrap();
        let failing = database.run(|db| {
            db.execute("INSERT INTO group_member VALUES (1, 1, 7)", [])?;
            db.execute("INSERT INTO nowhere VALUES (1)", [])
        });
        let (good, failed, other) = tokio::join!(add(&database, 1), failing, add(&database, 2));
        assert!(good.is_ok() && other.is_ok());
        assert!(failed.unwrap_err().to_string().contains("nowhere"));
        assert_eq!(groups(&database).await, Ok(2));
    }

    #[tokio::test]
    async fn what_was_confirmed_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(Some(directory.path())).unwrap();
        add(&database, 1).await.unwrap();
        let again = Database::open(Some(directory.path())).unwrap();
        assert_eq!(groups(&again).await, Ok(1));
    }

    #[tokio::test]
    async fn what_an_earlier_version_has_stored_is_carried_over() {
        let directory = tempfile::tempdir().unwrap();
        let raw = Connection::open(directory.path().join(NAME)).unwrap();
        for step in &STEPS[..2] {
            raw.execute_batch(step).unwrap();
        }
        raw.pragma_update(None, "user_version", 2).unwrap();
        let message = "INSERT INTO message VALUES (5, x'00', 1, 1, 8, 7, 1, 66, 1, x'00', '', NULL)";
        raw.execute_batch(&format!("{message}; INSERT INTO pending VALUES (1, 8, 1, 7, 5, 0);")).unwrap();
        drop(raw);
        let database = Database::open(Some(directory.path())).unwrap();
        let told = "SELECT told FROM pending JOIN message ON message = id WHERE watch IS NULL";
        assert_eq!(database.run(move |db| db.query_row(told, [], |row| row.get::<_, i64>(0))).await, Ok(0));
    }

    #[test]
    fn a_database_of_a_newer_program_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let raw = Connection::open(directory.path().join(NAME)).unwrap();
        raw.pragma_update(None, "user_version", 99).unwrap();
        let error = Database::open(Some(directory.path())).err().unwrap();
        assert!(error.to_string().contains("99"), "{error}");
    }

    /// A database with members of groups, closed in order.
    async fn filled(directory: &Path) -> Vec<u8> {
        let database = Database::open(Some(directory)).unwrap();
        for user in 0..500 {
            add(&database, user).await.unwrap();
        }
        drop(database);
        let connection = Connection::open(directory.join(NAME)).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(connection);
        std::fs::read(directory.join(NAME)).unwrap()
    }

    #[tokio::test]
    async fn a_damaged_database_is_named_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let whole = filled(directory.path()).await;
        let path = directory.path().join(NAME);
        let page = 4_096;
        let changes: [fn(&mut Vec<u8>); 4] = [
            |bytes| bytes.truncate(bytes.len() - 4_096),
            |bytes| bytes[3] ^= 1,
            // A letter of the table's definition.
            |bytes| *bytes.iter_mut().rev().find(|byte| **byte == b'W').unwrap() = b'V',
            // A member becomes another one, but not in the index.
            |bytes| {
                let at = bytes.windows(4).rposition(|four| four == [0, 0x01, 0x01, 0x02]).unwrap_or(bytes.len() - 9);
                bytes[at + 3] ^= 0x10;
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut bytes = whole.clone();
            change(&mut bytes);
            assert!(bytes.len() > page);
            std::fs::write(&path, &bytes).unwrap();
            let error = Database::open(Some(directory.path())).err().map(|error| error.to_string()).unwrap_or_default();
            let named = error.contains("relay.sqlite") && error.contains("damaged") && error.contains("backup");
            assert!(named, "change {number}: {error:?}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "change {number}");
        }
        std::fs::write(&path, &whole).unwrap();
        let again = Database::open(Some(directory.path())).unwrap();
        assert_eq!(groups(&again).await, Ok(500));
    }
}

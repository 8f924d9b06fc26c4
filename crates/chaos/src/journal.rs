//! What an application notes: what it has asked for, what the library has told it. A note is there before anything
//! else happens, and what a process has noted survives its sudden death.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crvideo_proto::id::TaskId;
use sha2::{Digest, Sha256};

use crate::proxy::lock;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A command.
    Command,
    /// A buffer.
    Buffer,
    /// A file.
    File,
}

/// SHA-256 of a content.
pub type Sha = [u8; 32];

/// SHA-256, computed apart from the library's own BLAKE3.
pub fn sha256(bytes: &[u8]) -> Sha {
    Sha256::digest(bytes).into()
}

/// One note. `session` names one login's session: its number in the process and the user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Note {
    /// A session was made for a user of a project.
    Session {
        session: u64,
        project: i64,
        user: String,
    },
    /// The library was asked to send; noted before the call where the application chose the id.
    Sent {
        session: u64,
        task: TaskId,
        kind: Kind,
        target: String,
        size: u64,
        sha: Sha,
        timeout: Duration,
    },
    /// That call was refused: there is no such task.
    Refused {
        session: u64,
        task: TaskId,
        err: i32,
    },
    /// The task's terminal event.
    Ended {
        session: u64,
        task: TaskId,
        err: i32,
    },
    Progress {
        session: u64,
        task: TaskId,
        sent: u64,
        total: u64,
    },
    CancelCalled {
        session: u64,
        task: TaskId,
    },
    CancelEnded {
        session: u64,
        task: TaskId,
        err: i32,
    },
    /// The library has delivered this.
    Delivered {
        session: u64,
        source: String,
        task: TaskId,
        kind: Kind,
        size: u64,
        sha: Sha,
    },
    LineOff {
        session: u64,
    },
    /// Any event that has no note of its own: only that it came.
    Heard {
        session: u64,
    },
    /// `Destroy` is called: from here on only terminal events follow.
    DestroyCalled {
        session: u64,
    },
    /// `Destroy` has returned.
    Destroyed {
        session: u64,
    },
    /// How much later than asked for a thread that does nothing else has been woken, at most, since the last such note.
    Stalled {
        longest: Duration,
    },
}

/// A note and its time since the journal was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Duration,
    /// What.
    pub note: Note,
}

/// One process's notes, in memory or in a file.
pub struct Journal {
    start: Instant,
    store: Mutex<Store>,
}

enum Store {
    Memory(Vec<Entry>),
    File(File),
}

impl Default for Journal {
    fn default() -> Self {
        Self { start: Instant::now(), store: Mutex::new(Store::Memory(Vec::new())) }
    }
}

impl Journal {
    /// One whose notes outlive the process.
    pub fn in_file(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { start: Instant::now(), store: Mutex::new(Store::File(file)) })
    }

    /// Notes something.
    pub fn note(&self, note: Note) {
        let mut store = lock(&self.store);
        let entry = Entry { at: self.start.elapsed(), note };
        match &mut *store {
            Store::Memory(entries) => entries.push(entry),
            // One call of write(2) for a line: it is there whole, or not at all.
            Store::File(file) => file.write_all(line(&entry).as_bytes()).expect("the journal can be written"),
        }
    }

    /// Looks at what was noted (nothing, when it goes to a file).
    pub fn look<T>(&self, look: impl FnOnce(&[Entry]) -> T) -> T {
        match &*lock(&self.store) {
            Store::Memory(entries) => look(entries),
            Store::File(_) => look(&[]),
        }
    }

    /// All that was noted in memory.
    pub fn entries(&self) -> Vec<Entry> {
        self.look(<[Entry]>::to_vec)
    }
}

/// Reads what a process has left behind. A last line that is not complete was never noted.
pub fn read(path: &Path) -> std::io::Result<Vec<Entry>> {
    let text = std::fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    Ok(whole.lines().map(|line| parse(line).unwrap_or_else(|| panic!("no note: {line:?}"))).collect())
}

fn hex(sha: &Sha) -> String {
    sha.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha_of(hex: &str) -> Option<Sha> {
    let mut sha = [0; 32];
    for (at, byte) in sha.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(sha)
}

fn id(task: &TaskId) -> String {
    task.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn id_of(hex: &str) -> Option<TaskId> {
    u128::from_str_radix(hex, 16).ok().map(|number| TaskId::from_bytes(number.to_be_bytes()))
}

fn kind(kind: Kind) -> u8 {
    kind as u8
}

fn kind_of(text: &str) -> Option<Kind> {
    [Kind::Command, Kind::Buffer, Kind::File].get(text.parse::<usize>().ok()?).copied()
}

fn line(entry: &Entry) -> String {
    let what = match &entry.note {
        Note::Session { session, project, user } => format!("session {session} {project} {user}"),
        Note::Sent { session, task, kind: what, target, size, sha, timeout } => {
            format!("sent {session} {} {} {target} {size} {} {}", id(task), kind(*what), hex(sha), timeout.as_millis())
        }
        Note::Refused { session, task, err } => format!("refused {session} {} {err}", id(task)),
        Note::Ended { session, task, err } => format!("ended {session} {} {err}", id(task)),
        Note::Progress { session, task, sent, total } => format!("progress {session} {} {sent} {total}", id(task)),
        Note::CancelCalled { session, task } => format!("cancel {session} {}", id(task)),
        Note::CancelEnded { session, task, err } => format!("cancelled {session} {} {err}", id(task)),
        Note::Delivered { session, source, task, kind: what, size, sha } => {
            format!("delivered {session} {source} {} {} {size} {}", id(task), kind(*what), hex(sha))
        }
        Note::LineOff { session } => format!("off {session}"),
        Note::Heard { session } => format!("heard {session}"),
        Note::DestroyCalled { session } => format!("destroying {session}"),
        Note::Destroyed { session } => format!("destroyed {session}"),
        Note::Stalled { longest } => format!("stalled {}", longest.as_millis()),
    };
    format!("{} {what}\n", entry.at.as_micros())
}

fn parse(line: &str) -> Option<Entry> {
    let words: Vec<_> = line.split(' ').collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    let err = |at: usize| words.get(at)?.parse::<i32>().ok();
    let word = |at: usize| words.get(at).copied();
    let at = Duration::from_micros(number(0)?);
    let session = number(2)?;
    let note = match word(1)? {
        "session" => Note::Session { session, project: word(3)?.parse().ok()?, user: word(4)?.to_owned() },
        "sent" => Note::Sent {
            session,
            task: id_of(word(3)?)?,
            kind: kind_of(word(4)?)?,
            target: word(5)?.to_owned(),
            size: number(6)?,
            sha: sha_of(word(7)?)?,
            timeout: Duration::from_millis(number(8)?),
        },
        "refused" => Note::Refused { session, task: id_of(word(3)?)?, err: err(4)? },
        "ended" => Note::Ended { session, task: id_of(word(3)?)?, err: err(4)? },
        "progress" => Note::Progress { session, task: id_of(word(3)?)?, sent: number(4)?, total: number(5)? },
        "cancel" => Note::CancelCalled { session, task: id_of(word(3)?)? },
        "cancelled" => Note::CancelEnded { session, task: id_of(word(3)?)?, err: err(4)? },
        "delivered" => Note::Delivered {
            session,
            source: word(3)?.to_owned(),
            task: id_of(word(4)?)?,
            kind: kind_of(word(5)?)?,
            size: number(6)?,
            sha: sha_of(word(7)?)?,
        },
        "off" => Note::LineOff { session },
        "heard" => Note::Heard { session },
        "destroying" => Note::DestroyCalled { session },
        "destroyed" => Note::Destroyed { session },
        "stalled" => Note::Stalled { longest: Duration::from_millis(session) },
        _ => return None,
    };
    Some(Entry { at, note })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_from_a_file_as_they_were_and_half_a_line_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (session, task, sha) = (3, TaskId::from_bytes([0xab; 16]), sha256(b"abc"));
        // From FIPS 180-2.
        assert_eq!(hex(&sha), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let target = "bob".to_owned();
        let timeout = Duration::from_millis(5);
        let notes = [
            Note::Session { session, project: -1, user: "alice".to_owned() },
            Note::Sent { session, task, kind: Kind::File, target, size: 7, sha, timeout },
            Note::Refused { session, task, err: 1106 },
            Note::Ended { session, task, err: 0 },
            Note::Progress { session, task, sent: 1, total: 2 },
            Note::CancelCalled { session, task },
            Note::CancelEnded { session, task, err: 1104 },
            Note::Delivered { session, source: "alice".to_owned(), task, kind: Kind::Command, size: 0, sha },
            Note::LineOff { session },
            Note::Heard { session },
            Note::DestroyCalled { session },
            Note::Destroyed { session },
            Note::Stalled { longest: timeout },
        ];
        let journal = Journal::in_file(&path).unwrap();
        notes.iter().for_each(|note| journal.note(note.clone()));
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"99 ended 3 ab").unwrap();
        let back: Vec<_> = read(&path).unwrap().into_iter().map(|entry| entry.note).collect();
        assert_eq!(back, notes);
    }
}

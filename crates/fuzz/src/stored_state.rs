//! What a relay reads back from a disk that was damaged: the file with the epochs, the database, the directory with
//! stored files. Whatever is there is read, or refused with words; nothing beside the data directory is touched.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crvideo_relay::fuzzing::{Cell, TABLES, fill, put_row, read_back};

use crate::input::Input;

/// Changes in one input.
const MOST_CHANGES: usize = 20;
/// The database's file.
const DATABASE: &str = "relay.sqlite";
/// The stored file that the database knows.
const STORED: &str = "files/01/23/0123456789abcdef0123456789abcdef";
/// What stands beside the data directory and must stay.
const NEIGHBOUR: &str = "neighbour";

/// A directory of our own that goes with us. In memory where the system has a file system there: a data directory is
/// synced to the disk again and again.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let name = format!("crvideo-fuzz-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = Self(parent.join(name));
        make(&place.data());
        place
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn make(path: &Path) {
    std::fs::create_dir_all(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn write(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The database of a relay that was in use.
fn sound_database() -> &'static [u8] {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    SOUND.get_or_init(|| {
        let place = Place::new();
        fill(&place.data()).unwrap_or_else(|error| panic!("no database: {error}"));
        std::fs::read(place.data().join(DATABASE)).unwrap_or_else(|error| panic!("no database: {error}"))
    })
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let place = Place::new();
    write(&place.0.join(NEIGHBOUR), b"stays");
    write(&place.data().join(DATABASE), sound_database());
    make(&place.data().join("files/01/23"));
    write(&place.data().join(STORED), b"12345");
    let damaged = match input.below(4) {
        0 => epoch(&place, &mut input),
        1 => pages(&place, &mut input),
        2 => rows(&place, &mut input),
        _ => entries(&place, &mut input),
    };
    let complaints = read_back(&place.data());
    assert!(damaged || complaints.is_empty(), "nothing was damaged, but {complaints:?}");
    assert!(complaints.iter().all(|complaint| !complaint.is_empty()));
    assert_eq!(std::fs::read(place.0.join(NEIGHBOUR)).ok().as_deref(), Some(&b"stays"[..]));
}

/// A file with any bytes instead of the epoch. Whether it is damaged.
fn epoch(place: &Place, input: &mut Input<'_>) -> bool {
    let bytes = input.all();
    write(&place.data().join("epoch"), bytes);
    let text = std::str::from_utf8(bytes).ok().map(str::trim);
    text.and_then(|text| text.parse::<u64>().ok()).is_none()
}

/// A database of which bytes have changed, or the end is missing.
fn pages(place: &Place, input: &mut Input<'_>) -> bool {
    let mut bytes = sound_database().to_vec();
    let sound = bytes.clone();
    for _ in 0..MOST_CHANGES {
        if input.is_empty() {
            break;
        }
        let at = input.u32() as usize % bytes.len().max(1);
        match input.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(input.short()),
            _ => {
                for (place, byte) in bytes.iter_mut().skip(at).zip(input.short()) {
                    *place = *byte;
                }
            }
        }
    }
    write(&place.data().join(DATABASE), &bytes);
    bytes != sound
}

/// Rows whose values have the wrong types.
fn rows(place: &Place, input: &mut Input<'_>) -> bool {
    for _ in 0..MOST_CHANGES {
        if input.is_empty() {
            break;
        }
        let table = input.below(TABLES.len());
        let cells = (0..TABLES[table].1).map(|_| cell(input)).collect();
        // What the table's rules forbid is not there, and that is well.
        let _ = put_row(&place.data(), table, cells);
    }
    true
}

fn cell(input: &mut Input<'_>) -> Cell {
    match input.below(6) {
        0 => Cell::Null,
        1 => Cell::Integer(i64::from(input.u8() as i8)),
        2 => Cell::Integer(input.u64() as i64),
        3 => Cell::Real(f64::from_bits(input.u64())),
        4 => Cell::Text(String::from_utf8_lossy(input.short()).into_owned()),
        _ => Cell::Blob(input.short().to_vec()),
    }
}

/// Files, directories and links that do not belong among the stored files.
fn entries(place: &Place, input: &mut Input<'_>) -> bool {
    let files = place.data().join("files");
    for parent in ["tmp", "01/23", "zz", "ab"] {
        make(&files.join(parent));
    }
    for _ in 0..MOST_CHANGES {
        if input.is_empty() {
            break;
        }
        let parent = files.join(input.pick(&["tmp", "01/23", "zz", "ab", ".", "01"]));
        let name = String::from_utf8_lossy(input.short()).replace(['/', '\0'], "_");
        let path = parent.join(&name);
        if name.is_empty() || name == "." || name == ".." || path.symlink_metadata().is_ok() {
            continue;
        }
        // Names that are too long for the file system are not there.
        let _ = match input.below(3) {
            0 => std::fs::write(&path, "something"),
            1 => std::fs::create_dir(&path),
            _ => link(&place.0.join(NEIGHBOUR), &path),
        };
    }
    true
}

#[cfg(unix)]
fn link(to: &Path, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, path)
}

#[cfg(not(unix))]
fn link(to: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::copy(to, path).map(drop)
}

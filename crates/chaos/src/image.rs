//! What is on a disk when the power goes: the calls that `c/power_shim.c` has written down, replayed up to one of them,
//! and everything left out that was not brought to the disk before. Files are synced by themselves, names by a sync of
//! the directory that they stand in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use crate::rng::Rng;

/// The unit that a disk writes as a whole.
const SECTOR: usize = 512;
/// Bytes before the texts and data of a record.
const HEADER: usize = 32;

/// A call that has changed something or has brought it to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Create { path: PathBuf, inode: u64 },
    MakeDir(PathBuf),
    Change { inode: u64, change: Change },
    Sync { inode: u64 },
    SyncDir(PathBuf),
    Rename { from: PathBuf, to: PathBuf },
    Unlink(PathBuf),
    RemoveDir(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Truncate { len: usize },
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Truncate { len } => content.resize(*len, 0),
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(data);
            }
        }
    }
}

/// All that was written down.
pub struct Journal {
    /// Each call, and where its record ends in the journal.
    calls: Vec<(u64, Call)>,
}

impl Journal {
    /// Reads one; a record that is cut short at the end is left out.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let (mut calls, mut at) = (Vec::new(), 0);
        while let Some((call, len)) = record(&bytes[at..]) {
            at += len;
            calls.push((at as u64, call));
        }
        Ok(Self { calls })
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// How many calls had returned when the journal had this length.
    pub fn calls_at(&self, journal_len: u64) -> usize {
        self.calls.iter().take_while(|(end, _)| *end <= journal_len).count()
    }

    /// The state after the first `count` calls.
    pub fn replay(&self, count: usize) -> Disk {
        let mut disk = Disk::default();
        self.calls.iter().take(count).for_each(|(_, call)| disk.call(call));
        disk
    }
}

fn record(bytes: &[u8]) -> Option<(Call, usize)> {
    let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (kind, lengths) = (number(0)?, [number(4)?, number(8)?, number(12)?]);
    let (inode, offset) = (long(16)?, long(24)? as usize);
    let mut at = HEADER;
    let mut part = |len: usize| {
        let part = bytes.get(at..at + len);
        at += len;
        part
    };
    let [path, to, data] = [part(lengths[0])?, part(lengths[1])?, part(lengths[2])?];
    let text = |bytes: &[u8]| PathBuf::from(String::from_utf8_lossy(bytes).into_owned());
    let (path, to) = (text(path), text(to));
    let call = match kind {
        1 => Call::Create { path, inode },
        2 => Call::MakeDir(path),
        3 => Call::Change { inode, change: Change::Write { offset, data: data.to_vec() } },
        4 => Call::Change { inode, change: Change::Truncate { len: offset } },
        5 => Call::Sync { inode },
        6 => Call::SyncDir(path),
        7 => Call::Rename { from: path, to },
        8 => Call::Unlink(path),
        9 => Call::RemoveDir(path),
        _ => return None,
    };
    Some((call, at))
}

/// A file: what is on the disk, and what was done since.
#[derive(Debug, Default, Clone)]
struct File {
    synced: Vec<u8>,
    since: Vec<Change>,
}

/// A change of names; files go by their numbers.
#[derive(Debug, Clone)]
enum Naming {
    File { path: PathBuf, file: usize },
    Dir(PathBuf),
    Moved { from: PathBuf, to: PathBuf, file: usize },
    Gone(PathBuf),
}

impl Naming {
    /// Whether it changes what stands in this directory.
    fn touches(&self, dir: &Path) -> bool {
        let stands = |path: &Path| path.parent() == Some(dir);
        match self {
            Self::File { path, .. } | Self::Dir(path) | Self::Gone(path) => stands(path),
            Self::Moved { from, to, .. } => stands(from) || stands(to),
        }
    }
}

/// What has become of what was not brought to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing is lost: as if the process alone had died.
    Nothing,
    /// All of it is lost.
    All,
    /// Each change by itself is lost, or not, or cut at a sector.
    Some,
}

/// Files and names at one moment.
#[derive(Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    by_inode: HashMap<u64, usize>,
    by_path: HashMap<PathBuf, usize>,
    /// Each change of names, and whether it is on the disk.
    names: Vec<(Naming, bool)>,
}

impl Disk {
    fn call(&mut self, call: &Call) {
        match call {
            Call::Create { path, inode } => {
                let file = self.files.len();
                self.files.push(File::default());
                self.by_inode.insert(*inode, file);
                self.by_path.insert(path.clone(), file);
                self.name(Naming::File { path: path.clone(), file });
            }
            Call::MakeDir(path) => self.name(Naming::Dir(path.clone())),
            Call::Change { inode, change } => {
                if let Some(file) = self.file(*inode) {
                    file.since.push(change.clone());
                }
            }
            Call::Sync { inode } => {
                if let Some(File { synced, since }) = self.file(*inode) {
                    since.drain(..).for_each(|change| change.apply(synced));
                }
            }
            Call::SyncDir(dir) => {
                self.names.iter_mut().filter(|(naming, _)| naming.touches(dir)).for_each(|(_, safe)| *safe = true);
            }
            Call::Rename { from, to } => {
                if let Some(file) = self.by_path.remove(from) {
                    self.by_path.insert(to.clone(), file);
                    self.name(Naming::Moved { from: from.clone(), to: to.clone(), file });
                }
            }
            Call::Unlink(path) | Call::RemoveDir(path) => {
                self.by_path.remove(path);
                self.name(Naming::Gone(path.clone()));
            }
        }
    }

    fn file(&mut self, inode: u64) -> Option<&mut File> {
        self.files.get_mut(*self.by_inode.get(&inode)?)
    }

    fn name(&mut self, naming: Naming) {
        self.names.push((naming, false));
    }

    /// What is found below `root` after the power has gone: directories, and files with their content.
    pub fn after(&self, root: &Path, loss: Loss, rng: &mut Rng) -> Image {
        let (mut dirs, mut files) = (BTreeSet::from([root.to_owned()]), BTreeMap::new());
        for (naming, safe) in &self.names {
            if !safe && (loss == Loss::All || loss == Loss::Some && rng.percent(50)) {
                continue;
            }
            match naming {
                Naming::File { path, file } => drop(files.insert(path.clone(), *file)),
                Naming::Dir(path) => drop(dirs.insert(path.clone())),
                Naming::Moved { from, to, file } => {
                    files.remove(from);
                    files.insert(to.clone(), *file);
                }
                Naming::Gone(path) => {
                    files.remove(path);
                    dirs.remove(path);
                }
            }
        }
        // What stands in a directory that is lost is lost with it.
        let all = dirs.clone();
        let reached =
            |path: &Path| path.ancestors().skip(1).take_while(|at| at.starts_with(root)).all(|at| all.contains(at));
        dirs.retain(|dir| reached(dir));
        let files = files.into_iter().filter(|(path, _)| reached(path));
        let files = files.map(|(path, file)| (path, self.files[file].after(loss, rng))).collect();
        Image { root: root.to_owned(), dirs, files }
    }
}

impl File {
    fn after(&self, loss: Loss, rng: &mut Rng) -> Vec<u8> {
        let mut content = self.synced.clone();
        for change in self.since.iter().filter(|_| loss != Loss::All) {
            match change {
                Change::Write { offset, data } if loss == Loss::Some && rng.percent(20) => {
                    let len = rng.below((data.len() / SECTOR) as u64 + 1) as usize * SECTOR;
                    Change::Write { offset: *offset, data: data[..len].to_vec() }.apply(&mut content);
                }
                _ if loss == Loss::Some && rng.percent(50) => {}
                change => change.apply(&mut content),
            }
        }
        content
    }
}

/// A directory as it is found.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    root: PathBuf,
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Image {
    /// What is in a directory now, but for sockets, and for the index of a write-ahead log, which is memory.
    pub fn of(root: &Path) -> io::Result<Self> {
        let (mut dirs, mut files) = (BTreeSet::from([root.to_owned()]), BTreeMap::new());
        let mut open = vec![root.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    dirs.insert(path.clone());
                    open.push(path);
                } else if path.is_file() && !path.to_string_lossy().ends_with("-shm") {
                    files.insert(path.clone(), std::fs::read(&path)?);
                }
            }
        }
        Ok(Self { root: root.to_owned(), dirs, files })
    }

    /// Where two differ: paths, with the lengths of files.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let len = |image: &Self, path: &PathBuf| image.files.get(path).map(Vec::len);
        let paths: BTreeSet<_> = self.files.keys().chain(other.files.keys()).collect();
        let differ = paths.into_iter().filter(|path| self.files.get(*path) != other.files.get(*path));
        let files = differ.map(|path| format!("{}: {:?} and {:?}", path.display(), len(self, path), len(other, path)));
        files.chain(self.dirs.symmetric_difference(&other.dirs).map(|dir| dir.display().to_string())).collect()
    }

    /// Makes it anew as the directory `root`.
    pub fn write_to(&self, root: &Path) -> io::Result<()> {
        let place = |path: &Path| path.strip_prefix(&self.root).map(|rest| root.join(rest)).map_err(io::Error::other);
        for dir in &self.dirs {
            std::fs::create_dir_all(place(dir)?)?;
        }
        self.files.iter().try_for_each(|(path, content)| std::fs::write(place(path)?, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "/data";

    fn path(name: &str) -> PathBuf {
        Path::new(ROOT).join(name)
    }

    fn disk(calls: &[Call]) -> Disk {
        let mut disk = Disk::default();
        calls.iter().for_each(|call| disk.call(call));
        disk
    }

    fn write(inode: u64, offset: usize, data: &[u8]) -> Call {
        Call::Change { inode, change: Change::Write { offset, data: data.to_vec() } }
    }

    fn files(disk: &Disk, loss: Loss) -> Vec<(PathBuf, Vec<u8>)> {
        disk.after(Path::new(ROOT), loss, &mut Rng::new(1)).files.into_iter().collect()
    }

    #[test]
    fn content_needs_a_sync_of_the_file_and_its_name_one_of_the_directory() {
        let mut calls = vec![Call::Create { path: path("a"), inode: 1 }, write(1, 0, b"safe"), Call::Sync { inode: 1 }];
        assert_eq!(files(&disk(&calls), Loss::All), [], "the name is not on the disk");
        calls.extend([Call::SyncDir(ROOT.into()), write(1, 2, b"XXX")]);
        assert_eq!(files(&disk(&calls), Loss::All), [(path("a"), b"safe".to_vec())]);
        assert_eq!(files(&disk(&calls), Loss::Nothing), [(path("a"), b"saXXX".to_vec())]);
    }

    #[test]
    fn a_directory_that_is_lost_takes_with_it_what_was_synced_inside() {
        let inside = [Call::MakeDir(path("d")), Call::Create { path: path("d/a"), inode: 1 }, Call::SyncDir(path("d"))];
        assert_eq!(files(&disk(&inside), Loss::All), []);
        let whole = [&inside[..], &[Call::SyncDir(ROOT.into())]].concat();
        assert_eq!(files(&disk(&whole), Loss::All), [(path("d/a"), vec![])]);
    }

    #[test]
    fn a_file_is_replaced_when_the_directory_is_synced_and_not_before() {
        let mut calls = vec![
            Call::Create { path: path("a"), inode: 1 },
            Call::SyncDir(ROOT.into()),
            Call::Create { path: path("b"), inode: 2 },
            write(2, 0, b"new"),
            Call::Sync { inode: 2 },
            Call::Rename { from: path("b"), to: path("a") },
        ];
        assert_eq!(files(&disk(&calls), Loss::All), [(path("a"), vec![])]);
        calls.push(Call::SyncDir(ROOT.into()));
        assert_eq!(files(&disk(&calls), Loss::All), [(path("a"), b"new".to_vec())]);
    }

    #[test]
    fn an_image_is_found_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let calls = [Call::MakeDir(path("d")), Call::Create { path: path("d/a"), inode: 1 }, write(1, 0, b"bytes")];
        let image = disk(&calls).after(Path::new(ROOT), Loss::Nothing, &mut Rng::new(1));
        image.write_to(dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("d/a")).unwrap(), b"bytes");
        assert_eq!(Image::of(dir.path()).unwrap().files.len(), 1);
    }
}

//! The hash tree of stored content. BLAKE3 is a tree, so its inner values say of each part of a file whether that part
//! is as it was stored, and the hash of the whole vouches for them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

/// Bytes of one part: a power of two of BLAKE3's own chunks.
pub(crate) const PART: usize = 128 * 1024;
/// Bytes of one part's value.
const VALUE: usize = 32;

/// Hashes content while it arrives, and keeps the value of each part.
#[derive(Debug, Default)]
pub(super) struct TreeHasher {
    values: Vec<ChainingValue>,
    part: Hasher,
    in_part: usize,
}

impl TreeHasher {
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // A part ends when more comes: the only part of small content is hashed in another way.
            if self.in_part == PART {
                self.end_part();
            }
            let (now, later) = bytes.split_at(bytes.len().min(PART - self.in_part));
            self.part.update(now);
            self.in_part += now.len();
            bytes = later;
        }
    }

    fn end_part(&mut self) {
        self.values.push(self.part.finalize_non_root());
        // A hasher that was reset cannot be told its offset again.
        self.part = Hasher::new();
        self.part.set_input_offset(self.values.len() as u64 * PART as u64);
        self.in_part = 0;
    }

    pub(super) fn finish(mut self) -> Tree {
        if self.values.is_empty() {
            return Tree { root: self.part.finalize(), values: Arc::default() };
        }
        self.values.push(self.part.finalize_non_root());
        Tree { root: root(&self.values), values: self.values.into() }
    }
}

/// The values of all parts of some content; none when it is one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    root: blake3::Hash,
    values: Arc<[ChainingValue]>,
}

impl Tree {
    /// The BLAKE3 of the whole content.
    pub(super) fn root(&self) -> blake3::Hash {
        self.root
    }

    /// What is stored of it beside the hash.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.values.concat()
    }

    /// The tree of `len` bytes with this hash, out of what was stored; `None` when that is not it.
    pub(super) fn from_bytes(bytes: &[u8], len: u64, hash: blake3::Hash) -> Option<Self> {
        let parts = len.div_ceil(PART as u64);
        let wanted = if parts > 1 { parts } else { 0 };
        let (values, rest) = bytes.as_chunks::<VALUE>();
        if values.len() as u64 != wanted || !rest.is_empty() {
            return None;
        }
        (values.is_empty() || root(values) == hash).then(|| Self { root: hash, values: values.into() })
    }

    /// Hashes a file from its beginning to its end.
    pub(super) fn of_file(file: &mut File) -> io::Result<Self> {
        let mut hasher = TreeHasher::default();
        let mut buffer = vec![0; PART];
        file.seek(SeekFrom::Start(0))?;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    /// Whether these are the bytes of the part with this number.
    pub(super) fn is_part(&self, number: u64, bytes: &[u8]) -> bool {
        if self.values.is_empty() {
            return number == 0 && blake3::hash(bytes) == self.root;
        }
        let mut hasher = Hasher::new();
        hasher.set_input_offset(number * PART as u64).update(bytes);
        let value = usize::try_from(number).ok().and_then(|at| self.values.get(at));
        // A part that is empty has no value.
        !bytes.is_empty() && value == Some(&hasher.finalize_non_root())
    }
}

/// How many of `count` parts are on the left.
fn left_of(count: usize) -> usize {
    let len = left_subtree_len(count as u64 * PART as u64);
    usize::try_from(len).unwrap_or(usize::MAX) / PART
}

/// The hash of two parts or more.
fn root(values: &[ChainingValue]) -> blake3::Hash {
    let (left, right) = values.split_at(left_of(values.len()));
    merge_subtrees_root(&inner(left), &inner(right), Mode::Hash)
}

fn inner(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [] => ChainingValue::default(),
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(left_of(values.len()));
            merge_subtrees_non_root(&inner(left), &inner(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 1000 + at % 251) as u8).collect()
    }

    fn tree(content: &[u8], step: usize) -> Tree {
        let mut hasher = TreeHasher::default();
        content.chunks(step).for_each(|piece| hasher.update(piece));
        hasher.finish()
    }

    #[test]
    fn the_hash_of_the_whole_is_blake3s_whatever_the_size() {
        for len in [0, 1, 1024, PART - 1, PART, PART + 1, 2 * PART, 3 * PART, 5 * PART + 7, 8 * PART, 9 * PART + 1] {
            let content = content(len);
            for step in [len.max(1), 100_000, PART + 3] {
                let tree = tree(&content, step);
                assert_eq!(tree.root(), blake3::hash(&content), "{len} bytes in steps of {step}");
                let again = Tree::from_bytes(&tree.to_bytes(), len as u64, tree.root());
                assert_eq!(again.as_ref(), Some(&tree), "{len} bytes");
                for (number, part) in content.chunks(PART).enumerate() {
                    assert!(tree.is_part(number as u64, part), "part {number} of {len} bytes");
                    assert!(len < 2 * PART || !tree.is_part(number as u64 + 1, part));
                }
            }
        }
    }

    #[test]
    fn every_bit_of_a_part_and_of_the_stored_tree_counts() {
        let mut content = content(3 * PART + 100);
        let tree = tree(&content, 100_000);
        for at in [0, PART - 1, PART, 2 * PART + 5, 3 * PART + 99] {
            content[at] ^= 4;
            let number = at / PART;
            let part = content.chunks(PART).nth(number).unwrap();
            assert!(!tree.is_part(number as u64, part), "byte {at}");
            content[at] ^= 4;
        }
        assert!(!tree.is_part(3, &content[3 * PART..3 * PART + 99]), "a part that is too short");
        let (bytes, len) = (tree.to_bytes(), content.len() as u64);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Tree::from_bytes(&damaged, len, tree.root()), None);
        }
        assert_eq!(Tree::from_bytes(&bytes[VALUE..], len, tree.root()), None);
        assert_eq!(Tree::from_bytes(&[], len, tree.root()), None);
    }
}

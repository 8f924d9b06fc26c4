//! The seal at the end of each frame: a CRC-32C over all frames of its direction so far (`docs/wire.md`, section 2.4).

/// Bytes of a seal.
pub const SEAL_LEN: usize = 4;

/// One direction's checksum, as far as it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal(u32);

impl Seal {
    /// Of the frames from the relay to the client.
    pub fn down(salt: u32) -> Self {
        Self(salt)
    }

    /// Of the frames from the client to the relay.
    pub fn up(salt: u32) -> Self {
        Self(!salt)
    }

    /// Takes bytes of a frame in.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    /// What stands at the end of the frame.
    pub(crate) fn bytes(self) -> [u8; SEAL_LEN] {
        self.0.to_le_bytes()
    }
}

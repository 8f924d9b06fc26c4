//! A library that is built without encryption: nothing of it can be made, and whoever asks is told so.

use std::io::{self, IoSlice};

use crvideo_proto::frame::FrameReader;

use super::super::config::TlsSettings;

/// Cannot be made.
#[derive(Debug, Clone, Copy)]
pub enum Trust {}

/// Always fails.
pub fn load(_: &TlsSettings) -> Result<Trust, String> {
    Err("this library was built without TLS; build it with its default features, or set tls to CRVIDEO_TLS_NEVER to \
         send everything in plain text"
        .to_owned())
}

/// Cannot be made.
#[derive(Debug)]
pub enum Channel {}

impl Channel {
    /// Never called.
    pub fn start(trust: &Trust, _host: &str) -> Result<Self, String> {
        match *trust {}
    }
    /// Never called.
    pub fn is_handshaking(&self) -> bool {
        match *self {}
    }
    /// Never called.
    pub fn version(&self) -> String {
        match *self {}
    }
    /// Never called.
    pub fn has_unsent(&self) -> bool {
        match *self {}
    }
    /// Never called.
    pub fn send(&mut self, _to: &mut dyn io::Write) -> io::Result<usize> {
        match *self {}
    }
    /// Never called.
    pub fn encrypt(&mut self, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }
    /// Never called.
    pub fn take_in(&mut self, _bytes: &[u8]) -> Result<(), String> {
        match *self {}
    }
    /// Never called.
    pub fn decrypt(&mut self, _bytes: &[u8], _reader: &mut FrameReader) -> Result<usize, String> {
        match *self {}
    }
    /// Never called.
    pub fn has_ended(&self) -> bool {
        match *self {}
    }
    /// Never called.
    pub fn end(&mut self) {
        match *self {}
    }
}

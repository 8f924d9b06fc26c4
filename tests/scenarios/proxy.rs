//! A TCP proxy between a user and the relay, for faults on the link.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crvideo::client::ServerAddress;

#[derive(Default)]
struct State {
    open: Mutex<Vec<TcpStream>>,
    refusing: AtomicBool,
    silent: AtomicBool,
    /// Changes one byte of each piece.
    tampering: AtomicBool,
    /// Bytes that went through, both ways.
    forwarded: AtomicU64,
    /// These bytes, where they are kept.
    kept: Option<Mutex<Vec<u8>>>,
}

/// The proxy; it ends with the test.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    pub fn new(relay: SocketAddr) -> Self {
        Self::with(relay, State::default())
    }

    /// One that keeps a copy of everything that goes through.
    pub fn that_listens(relay: SocketAddr) -> Self {
        Self::with(relay, State { kept: Some(Mutex::default()), ..State::default() })
    }

    fn with(relay: SocketAddr, state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(state);
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.refusing.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(relay) else { continue };
                shared.open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                pump(client.try_clone().unwrap(), server.try_clone().unwrap(), shared.clone());
                pump(server, client, shared.clone());
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> ServerAddress {
        super::world::address(self.address)
    }

    /// How many bytes went through so far.
    pub fn forwarded(&self) -> u64 {
        self.state.forwarded.load(Ordering::SeqCst)
    }

    /// Everything that went through, in the order in which it came.
    pub fn heard(&self) -> Vec<u8> {
        self.state.kept.as_ref().map(|kept| kept.lock().unwrap().clone()).unwrap_or_default()
    }

    /// Whether one byte of each piece is changed on its way.
    pub fn tamper(&self, tampering: bool) {
        self.state.tampering.store(tampering, Ordering::SeqCst);
    }

    /// Ends every connection.
    pub fn cut(&self) {
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refusing: bool) {
        self.state.refusing.store(refusing, Ordering::SeqCst);
    }

    /// Swallows everything from now on, without closing anything.
    pub fn go_silent(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: Arc<State>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(len) if len > 0 => {
                    if let Some(kept) = &state.kept {
                        kept.lock().unwrap().extend_from_slice(&buffer[..len]);
                    }
                    if state.tampering.load(Ordering::SeqCst) {
                        buffer[len - 1] ^= 1;
                    }
                    state.forwarded.fetch_add(len as u64, Ordering::SeqCst);
                    if !state.silent.load(Ordering::SeqCst) && to.write_all(&buffer[..len]).is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
        // A link that has gone silent does not pass on an end either.
        if !state.silent.load(Ordering::SeqCst) {
            let _ = to.shutdown(Shutdown::Both);
        }
        let _ = from.shutdown(Shutdown::Both);
    });
}

//! The log's way to stderr. Whoever reads that may be slow, or stand still, or be gone: none of this may hold up or
//! harm a relay, which logs while it serves. So a thread of its own writes the lines, and what comes too fast for it
//! is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait.
const LINES_WAITING: usize = 4_096;
/// How long the end of the program waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    /// Says that everything before it has been written.
    Written(SyncSender<()>),
}

/// Takes lines without ever waiting or failing.
#[derive(Clone)]
pub struct Log {
    items: SyncSender<Item>,
    dropped: Arc<AtomicUsize>,
}

impl Log {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (items, received) = sync_channel(LINES_WAITING);
        let dropped = Arc::new(AtomicUsize::new(0));
        let counted = dropped.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write(&received, &counted))?;
        Ok(Self { items, dropped })
    }

    /// Waits a moment for the lines so far to be written.
    pub fn finish(&self) {
        let (written, all_written) = sync_channel(1);
        if self.items.try_send(Item::Written(written)).is_ok() {
            let _ = all_written.recv_timeout(LAST_LINES);
        }
    }
}

fn write(items: &Receiver<Item>, dropped: &AtomicUsize) {
    for item in items {
        match item {
            Item::Line(line) => {
                let lost = dropped.swap(0, Ordering::Relaxed);
                let mut stderr = io::stderr().lock();
                if lost > 0 {
                    let _ = writeln!(stderr, "{lost} log lines were dropped: they came faster than they were taken");
                }
                // When nobody reads the log any more there is nobody to tell.
                let _ = stderr.write_all(&line);
            }
            Item::Written(written) => {
                let _ = written.send(());
            }
        }
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.items.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

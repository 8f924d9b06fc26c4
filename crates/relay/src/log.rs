//! The log's way to stderr. Whoever reads that may be slow, or stand still, or be gone: none of this may hold up or
//! harm a relay, which logs while it serves. So a thread of its own writes the lines, and what comes too fast for it
//! is dropped and counted. Each event is one line of harmless characters, whatever strangers have put into it.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crvideo_proto::name::is_harmful;
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
    colored: bool,
}

impl Log {
    /// Starts the thread. `colored`: the lines come with the escape sequences of colours.
    pub fn start(colored: bool) -> io::Result<Self> {
        let (items, received) = sync_channel(LINES_WAITING);
        let dropped = Arc::new(AtomicUsize::new(0));
        let counted = dropped.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write(&received, &counted))?;
        Ok(Self { items, dropped, colored })
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

/// The line of one event without anything that could begin another line, command a terminal or change the order of
/// what is read: names, paths and errors may contain what strangers have sent. Where the lines have colours, the
/// formatter has escaped the escape characters of all values.
fn harmless(line: &[u8], colored: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let event = text.strip_suffix('\n').unwrap_or(&text);
    let is_harmful = |char: char| is_harmful(char) && !(colored && char == '\u{1b}');
    if matches!(text, Cow::Borrowed(_)) && !event.contains(is_harmful) {
        return line.to_vec();
    }
    let mut clean = String::with_capacity(line.len() + 16);
    for char in event.chars() {
        if is_harmful(char) {
            clean.extend(char.escape_default());
        } else {
            clean.push(char);
        }
    }
    clean.push('\n');
    clean.into_bytes()
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.items.try_send(Item::Line(harmless(line, self.colored))).is_err() {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn whatever_an_event_says_is_one_harmless_line() {
        let cases: [(&[u8], &str); 7] = [
            ("INFO ready name=\"报告 ünï\"\n".as_bytes(), "INFO ready name=\"报告 ünï\"\n"),
            (b"INFO a\nERROR forged\n", "INFO a\\nERROR forged\n"),
            (b"INFO a\r\n\n", "INFO a\\r\\n\n"),
            (b"INFO \x1b[2Jgone\x07\x7f\n", "INFO \\u{1b}[2Jgone\\u{7}\\u{7f}\n"),
            ("INFO \u{9b}31m\u{85}\n".as_bytes(), "INFO \\u{9b}31m\\u{85}\n"),
            ("INFO fdp\u{202e}exe\u{2028}\n".as_bytes(), "INFO fdp\\u{202e}exe\\u{2028}\n"),
            (b"INFO \xff\xc3\n", "INFO \u{fffd}\u{fffd}\n"),
        ];
        for (line, expected) in cases {
            assert_eq!(String::from_utf8(harmless(line, false)).unwrap(), expected);
        }
        assert_eq!(harmless(b"\x1b[32mINFO\x1b[0m a\rb\n", true), b"\x1b[32mINFO\x1b[0m a\\rb\n");
    }
}

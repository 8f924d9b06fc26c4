//! Log lines for the application: through its queue or the callback thread, never on the io thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use crvideo_proto::code;
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::Code;
use super::queue::{EventQueue, Item};

/// Lines that may wait; later ones are dropped and counted.
const MAX_WAITING: usize = 1_024;

/// Takes level (1 error … 5 trace), target and message.
pub type Sink = Box<dyn Fn(u8, &str, &str) + Send + Sync>;

struct Target {
    /// Lines wait in the queue and hold this: a queue that is given up with lines in it must not hold itself.
    queue: Weak<EventQueue>,
    sink: Sink,
    waiting: AtomicUsize,
    dropped: AtomicUsize,
}

static TARGET: RwLock<Option<Arc<Target>>> = RwLock::new(None);

/// A line in a queue.
pub struct LogLine {
    target: Arc<Target>,
    level: Level,
    module: &'static str,
    text: String,
}

impl LogLine {
    /// Hands the line to the application, unless it has set another function since.
    pub fn deliver(self) {
        self.target.waiting.fetch_sub(1, Ordering::SeqCst);
        let current = TARGET.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !current.is_some_and(|current| Arc::ptr_eq(&current, &self.target)) {
            return;
        }
        let dropped = self.target.dropped.swap(0, Ordering::SeqCst);
        if dropped > 0 {
            let text = format!("{dropped} log lines were dropped: they came faster than they were taken");
            (self.target.sink)(Level::Warn as u8, module_path!(), &text);
        }
        (self.target.sink)(self.level as u8, self.module, &self.text);
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("crvideo")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let Some(target) = TARGET.read().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        if target.waiting.fetch_add(1, Ordering::SeqCst) >= MAX_WAITING {
            target.waiting.fetch_sub(1, Ordering::SeqCst);
            target.dropped.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let module = record.module_path_static().unwrap_or("crvideo");
        // A line is one line, whatever other users put into names.
        let text = record.args().to_string().replace(|char: char| char.is_control(), " ");
        let Some(queue) = target.queue.upgrade() else { return };
        queue.push(Item::Log(LogLine { target, level: record.level(), module, text }));
    }

    fn flush(&self) {}
}

/// Sets where log lines up to `level` go. 9 when the host is a Rust program with a logger of its own: then the lines
/// go there already.
pub fn set(queue: Arc<EventQueue>, level: u8, sink: Option<Sink>) -> Result<(), Code> {
    static INSTALLED: once_cell::sync::OnceCell<bool> = once_cell::sync::OnceCell::new();
    let filter = match level {
        0 => LevelFilter::Off,
        1 => LevelFilter::Error,
        2 => LevelFilter::Warn,
        3 => LevelFilter::Info,
        4 => LevelFilter::Debug,
        5 => LevelFilter::Trace,
        _ => return Err(code::PARAM_ERR),
    };
    if !*INSTALLED.get_or_init(|| log::set_logger(&Logger).is_ok()) {
        return Err(code::LOGINSTATE_ERROR);
    }
    log::set_max_level(if sink.is_some() { filter } else { LevelFilter::Off });
    let next = sink.map(|sink| {
        queue.attach();
        Arc::new(Target {
            queue: Arc::downgrade(&queue),
            sink,
            waiting: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
        })
    });
    let before = std::mem::replace(&mut *TARGET.write().unwrap_or_else(PoisonError::into_inner), next);
    if let Some(queue) = before.and_then(|before| before.queue.upgrade()) {
        queue.detach();
        // After this call the former function is never called again.
        queue.wait_for_log();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_a_queue_that_is_given_up_with_log_lines_in_it_is_freed() {
        let queue = Arc::new(EventQueue::new(true).unwrap());
        set(queue.clone(), 1, Some(Box::new(|_, _, _| {}))).unwrap();
        log::error!("a line that nobody takes");
        assert!(Arc::strong_count(&queue) == 1, "the log holds the queue");
        assert!(!queue.is_free(), "the log uses the queue");
        set(queue.clone(), 0, None).unwrap();
        assert!(queue.is_free());
        let weak = Arc::downgrade(&queue);
        drop(queue);
        assert!(weak.upgrade().is_none(), "its lines hold it");
    }
}

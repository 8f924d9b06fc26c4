//! Users who go on working: each sends another one something and waits for it to come back, again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, Message, Routed};
use crvideo_proto::out::OutQueue;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::wire::{Client, PATIENCE};

/// Half of the users send, and the others send back.
const PAIRS: usize = 50;
/// Between two tasks of a user.
const PAUSE: Duration = Duration::from_millis(50);

/// Users at work.
pub struct Work {
    over: Arc<AtomicBool>,
    senders: JoinSet<(Vec<Duration>, usize)>,
    /// Those who send back; they end with this.
    _echoes: JoinSet<()>,
}

/// How it went.
#[derive(Debug, Clone, Copy)]
pub struct Went {
    /// Tasks that were done.
    pub done: usize,
    /// Tasks that were not.
    pub failed: usize,
    /// Time of the slowest but for one in a hundred, in milliseconds.
    pub p99: f64,
}

impl Work {
    /// Logs 100 users in and lets them work.
    pub async fn start(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (mut senders, mut echoes) = (JoinSet::new(), JoinSet::new());
        for pair in 0..PAIRS {
            let (one, other) = (format!("sender{pair}"), format!("echo{pair}"));
            let echo = Client::login(address, &other).await.expect("a login");
            let mut sender = Client::login(address, &one).await.expect("a login");
            sender.find(&other).await.expect("an answer");
            let (to, back) = ((other, echo.epoch), (one, sender.epoch));
            echoes.spawn(send_back(echo, back));
            senders.spawn(send(sender, to, over.clone()));
        }
        Self { over, senders, _echoes: echoes }
    }

    /// Ends it, and says how it went.
    pub async fn end(mut self) -> Went {
        self.over.store(true, Ordering::Relaxed);
        let (mut times, mut failed) = (Vec::new(), 0);
        while let Some(done) = self.senders.join_next().await {
            let (more, not) = done.expect("a sender that has not panicked");
            times.extend(more);
            failed += not;
        }
        times.sort_unstable();
        let p99 = times.get(times.len() * 99 / 100).map_or(f64::INFINITY, |time| time.as_secs_f64() * 1_000.0);
        Went { done: times.len(), failed, p99 }
    }

    /// How it goes while nobody disturbs it, over some time.
    pub async fn quiet(address: SocketAddr, time: Duration) -> Went {
        let work = Self::start(address).await;
        sleep(time).await;
        work.end().await
    }
}

async fn send(mut me: Client, (user, epoch): (String, u64), over: Arc<AtomicBool>) -> (Vec<Duration>, usize) {
    let (mut times, mut failed) = (Vec::new(), 0);
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let there = async {
            let mut out = OutQueue::default();
            out.routed(&user, epoch, &msg::Confirm { task: TaskId::from_bytes([1; 16]), offset: number, limit: 0 });
            me.link.send(out).await?;
            loop {
                let frame = me.link.next().await?;
                if frame.method() == msg::Confirm::METHOD
                    && Routed::<msg::Confirm>::read(&frame.payload).is_ok_and(|it| it.message.offset == number)
                {
                    return Ok::<_, std::io::Error>(());
                }
            }
        };
        match timeout(PATIENCE, there).await {
            Ok(Ok(())) => times.push(began.elapsed()),
            Ok(Err(_)) => return (times, failed + 1),
            Err(_) => failed += 1,
        }
        sleep(PAUSE).await;
    }
    (times, failed)
}

async fn send_back(mut me: Client, (user, epoch): (String, u64)) {
    while let Ok(frame) = me.link.next().await {
        if frame.method() == msg::Confirm::METHOD
            && let Ok(came) = Routed::<msg::Confirm>::read(&frame.payload)
        {
            let mut out = OutQueue::default();
            out.routed(&user, epoch, &came.message);
            if me.link.send(out).await.is_err() {
                return;
            }
        }
    }
}

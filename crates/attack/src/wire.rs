//! A client that speaks the wire by hand.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crvideo_proto::frame::{Frame, FrameReader, Kind, SESSION_LIMIT};
use crvideo_proto::message::{self as msg, Body, Message, read_answer};
use crvideo_proto::out::OutQueue;
use crvideo_proto::token;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::relay::{PROJECT, SECRET};

/// Nothing that works takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);
const FAR_FUTURE: u64 = 4_000_000_000;

/// One connection.
pub struct Link {
    /// Its socket.
    pub stream: TcpStream,
    reader: FrameReader,
    seq: u32,
}

/// A logged-in client.
pub struct Client {
    /// Its command connection.
    pub link: Link,
    /// Its user.
    pub user: String,
    /// Its epoch.
    pub epoch: u64,
    /// For its bulk connection.
    pub ticket: [u8; 16],
}

/// Why something was not answered.
#[derive(Debug)]
pub enum Failure {
    /// The connection does not come, breaks, or gives nothing for too long.
    Link(io::Error),
    /// The relay has refused it.
    Refused(i64),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Link(error)
    }
}

impl Link {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, reader: FrameReader::new(SESSION_LIMIT), seq: 0 })
    }

    /// Writes everything that is queued.
    pub async fn send(&mut self, mut out: OutQueue) -> io::Result<()> {
        self.stream.write_all(&out.take()).await
    }

    /// The next frame.
    pub async fn next(&mut self) -> io::Result<Frame> {
        loop {
            let frame = self.reader.next_frame().map_err(|error| io::Error::other(error.to_string()))?;
            if let Some(frame) = frame {
                if frame.method() == msg::Ping::METHOD {
                    let mut out = OutQueue::default();
                    out.one_way(&msg::Pong {});
                    self.send(out).await?;
                    continue;
                }
                return Ok(frame);
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.reader.feed(&bytes[..count]),
            }
        }
    }

    /// Asks, and waits for the answer.
    pub async fn ask<M: Message, A: Body>(&mut self, message: &M) -> Result<A, Failure> {
        self.seq += 1;
        let mut out = OutQueue::default();
        out.quest(self.seq, message);
        self.send(out).await?;
        let answer = async {
            loop {
                let frame = self.next().await?;
                if frame.kind == Kind::Answer && frame.seq == self.seq {
                    return Ok::<_, io::Error>(frame);
                }
            }
        };
        let frame = timeout(PATIENCE, answer).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        read_answer(&frame).expect("an answer that makes sense").map_err(|error| Failure::Refused(error.code))
    }

    /// Connects and says hello.
    pub async fn greeted(address: SocketAddr) -> Result<Self, Failure> {
        let mut link = Self::open(address).await?;
        let hello = msg::Hello { lowest: 1, highest: 1, features: 0, agent: "attack".into() };
        link.ask::<_, msg::HelloAnswer>(&hello).await?;
        Ok(link)
    }
}

impl Client {
    /// Logs a user in.
    pub async fn login(address: SocketAddr, user: &str) -> Result<Self, Failure> {
        let mut link = Link::greeted(address).await?;
        let token = token::mint(PROJECT, user, FAR_FUTURE, &SECRET);
        let login = msg::Login { project: PROJECT, user: user.into(), token, session: [7; 16], epoch: 0 };
        let answer: msg::LoginAnswer = link.ask(&login).await?;
        Ok(Self { link, user: user.into(), epoch: answer.epoch, ticket: answer.ticket })
    }

    /// Opens its bulk connection.
    pub async fn bulk(&mut self, address: SocketAddr) -> Result<Link, Failure> {
        let mut link = Link::greeted(address).await?;
        let answer: msg::BulkAnswer = link.ask(&msg::Bulk { ticket: self.ticket, lost: None }).await?;
        self.ticket = answer.ticket;
        Ok(link)
    }

    /// Gets to know another user, and returns his epoch.
    pub async fn find(&mut self, user: &str) -> Result<u64, Failure> {
        let answer: msg::FindAnswer = self.link.ask(&msg::Find { user: user.into() }).await?;
        Ok(answer.epoch)
    }
}

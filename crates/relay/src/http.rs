//! HTTP for the operator's tools: `GET /healthz`, and nothing else yet.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request's head has at most this many bytes.
const MAX_HEAD: usize = 2 * 1024;
/// A request must be here and answered within this time.
const DEADLINE: Duration = Duration::from_secs(5);
/// Requests that are served at once.
pub(crate) const MAX_REQUESTS: usize = 64;

/// Answers one request and closes.
pub(crate) async fn serve(stream: TcpStream) {
    // What goes wrong here concerns the one who asked alone.
    let _ = tokio::time::timeout(DEADLINE, answer(stream)).await;
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let (status, body) = match line {
        b"GET /healthz HTTP/1.1" | b"GET /healthz HTTP/1.0" => ("200 OK", "ok\n"),
        _ => ("404 Not Found", "only GET /healthz is here\n"),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

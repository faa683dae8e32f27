//! A listener that accepts no more connections than it has seats for.
//!
//! **Invariant:** a connection holds its seat until it is closed, so that no flood of them uses up the process's files.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// How long a connection may say nothing, and take nothing: its seat may be wanted.
const IDLE_PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection may go on without an answer: what comes byte by byte is no request.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);

/// Accepts as long as there are seats; others wait in the kernel's queue.
pub(crate) struct Limited {
    listener: TcpListener,
    seats: Arc<Semaphore>,
    patience: Duration,
    answer_patience: Duration,
}

/// A connection with its seat.
pub(crate) struct Seated {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    patience: Duration,
    /// When the next bytes of an answer must have gone out.
    unanswered: Pin<Box<Sleep>>,
    answer_patience: Duration,
    _seat: OwnedSemaphorePermit,
}

impl Limited {
    pub(crate) fn new(listener: TcpListener, seats: usize) -> Self {
        Self { listener, seats: Arc::new(Semaphore::new(seats)), patience: IDLE_PATIENCE, answer_patience: ANSWER_PATIENCE }
    }

    /// Lets connections say nothing for longer.
    #[cfg(feature = "foxglove")]
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, answer_patience: self.answer_patience.max(patience), ..self }
    }
}

impl Listener for Limited {
    type Io = Seated;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Seated, SocketAddr) {
        let seat = self.seats.clone().acquire_owned().await.expect("the seats are never closed");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // An answer of a few bytes must not wait for the next ones.
        let _ = stream.set_nodelay(true);
        let Self { patience, answer_patience, .. } = *self;
        let (idle, unanswered) = (Box::pin(sleep(patience)), Box::pin(sleep(answer_patience)));
        (Seated { stream, idle, patience, unanswered, answer_patience, _seat: seat }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Seated {
    /// Ends what waits when nothing has come or gone for too long.
    fn or_idle<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_pending() {
            return self.idle.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        let until = Instant::now() + self.patience;
        self.idle.as_mut().reset(until);
        result
    }
}

impl AsyncRead for Seated {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unanswered.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.or_idle(context, result)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(result, Poll::Ready(Ok(1..))) {
            let until = Instant::now() + self.answer_patience;
            self.unanswered.as_mut().reset(until);
        }
        self.or_idle(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;

    use super::*;
    /// Writes all of a text, and returns whether somebody took it.
    async fn send(stream: &TcpStream, text: &str) -> bool {
        stream.writable().await.is_ok() && stream.try_write(text.as_bytes()).is_ok_and(|written| written == text.len())
    }

    #[tokio::test]
    async fn a_request_that_comes_byte_by_byte_loses_its_seat() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limited = Limited { answer_patience: Duration::from_millis(100), ..Limited::new(listener, 1) };
        let router = Router::new().fallback(async || "taken");
        let serving = async { axum::serve(limited, router).await };
        let sending = async {
            let slow = TcpStream::connect(address).await.unwrap();
            assert!(send(&slow, "GET / HTTP/1.1\r\nHost: x\r\n").await);
            // Never silent for long. It is the only one that may be connected, until it is thrown out.
            let mut bytes = 0;
            while send(&slow, "x").await {
                bytes += 1;
                assert!(bytes < 10_000, "it may go on forever");
                sleep(Duration::from_millis(2)).await;
            }
            let next = TcpStream::connect(address).await.unwrap();
            assert!(send(&next, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await);
            next.readable().await.unwrap();
            let mut answer = [0; 12];
            assert_eq!((next.try_read(&mut answer).unwrap(), &answer), (12, b"HTTP/1.1 200"));
        };
        tokio::select! {
            _ = serving => panic!("it serves until it is dropped"),
            () = sending => {}
        }
    }
}

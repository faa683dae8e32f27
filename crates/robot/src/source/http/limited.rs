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
use tokio::time::{Instant, Sleep};

/// How long a connection may say nothing, and take nothing: its seat may be wanted.
const IDLE_PATIENCE: Duration = Duration::from_secs(30);

/// Accepts as long as there are seats; others wait in the kernel's queue.
pub(crate) struct Limited {
    listener: TcpListener,
    seats: Arc<Semaphore>,
    patience: Duration,
}

/// A connection with its seat.
pub(crate) struct Seated {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    patience: Duration,
    _seat: OwnedSemaphorePermit,
}

impl Limited {
    pub(crate) fn new(listener: TcpListener, seats: usize) -> Self {
        Self { listener, seats: Arc::new(Semaphore::new(seats)), patience: IDLE_PATIENCE }
    }
}

impl Limited {
    /// Lets connections say nothing for longer.
    #[cfg(feature = "foxglove")]
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
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
        let patience = self.patience;
        (Seated { stream, idle: Box::pin(tokio::time::sleep(patience)), patience, _seat: seat }, address)
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
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.or_idle(context, result)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.or_idle(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

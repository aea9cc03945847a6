//! A connection whose peer must take what is written to it: one that stops reading is given up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Debug)]
pub struct Patient<S> {
    inner: S,
    idle: Duration,
    /// Since when the peer has taken nothing of what waits for it.
    stuck_since: Option<Instant>,
    /// Left running when the peer reads on: setting it anew for each write would cost more than that it
    /// fires in vain once.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub fn new(inner: S, idle: Duration) -> Self {
        Self { inner, idle, stuck_since: None, alarm: None }
    }

    /// What became of an attempt to write, unless the peer has been stuck for too long.
    fn judged<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stuck_since = None;
            return done;
        }
        let until = *self.stuck_since.get_or_insert_with(Instant::now) + self.idle;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
        loop {
            ready!(alarm.as_mut().poll(cx));
            if Instant::now() >= until {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            alarm.as_mut().reset(until);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judged(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.inner).poll_flush(cx);
        self.judged(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.judged(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        self.judged(cx, done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    #[tokio::test]
    async fn a_peer_that_stops_reading_is_given_up_and_a_slow_one_is_not() {
        let idle = Duration::from_secs(1); // much more than a busy machine makes of a quarter of it
        let (ours, mut theirs) = duplex(10);
        let mut ours = Patient::new(ours, idle);
        let slow = tokio::spawn(async move {
            let mut byte = [0; 10];
            for _ in 0..8 {
                tokio::time::sleep(idle / 4).await;
                theirs.read_exact(&mut byte).await.unwrap();
            }
            theirs
        });
        ours.write_all(&[0; 90]).await.unwrap();
        let _theirs = slow.await.unwrap();
        let stuck = tokio::time::timeout(100 * idle, ours.write_all(&[0; 90])).await;
        assert_eq!(stuck.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}

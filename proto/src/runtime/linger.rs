//! A connection that ends while its peer still sends, as after a refusal that did not wait for a body. The kernel
//! answers what comes then with a reset, and that takes from the peer what it has not read yet: the reason. So what
//! still comes after the last word is read for a while, and thrown away.

use crate::runtime::server::Shutdown;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A peer that sends nothing for so long has heard.
const SILENCE_MAX: Duration = Duration::from_secs(2);
const LINGER_MAX: Duration = Duration::from_secs(30);
const PIECE_BYTES: usize = 16 << 10;

/// How long to listen after the last word.
#[derive(Debug, Clone, Copy)]
struct Limits {
    silence: Duration,
    whole: Duration,
}

#[derive(Debug)]
pub struct Lingering<S> {
    inner: S,
    limits: Limits,
    /// A server that stops does not wait for this.
    shutdown: Shutdown,
    listening: Option<Listening>,
}

#[derive(Debug)]
struct Listening {
    until: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Lingering<S> {
    pub fn new(inner: S, shutdown: Shutdown) -> Self {
        let limits = Limits { silence: SILENCE_MAX, whole: LINGER_MAX };
        Self { inner, limits, shutdown, listening: None }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lingering<S> {
    /// Ready when the peer has ended its side, has been silent, or has sent for too long.
    fn poll_listen(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let Limits { silence, whole } = self.limits;
        let listening = self.listening.get_or_insert_with(|| {
            let until = now + whole;
            Listening { until, alarm: Box::pin(sleep_until(until.min(now + silence))) }
        });
        let mut piece = [0; PIECE_BYTES];
        loop {
            if listening.alarm.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut piece = ReadBuf::new(&mut piece);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => {
                    listening.alarm.as_mut().reset(listening.until.min(Instant::now() + silence));
                }
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.listening.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        }
        if !self.shutdown.is_stopping() {
            ready!(self.poll_listen(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::server::shutdown_pair;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    /// Whoever waits for so long fails the test.
    const FOREVER: Duration = Duration::from_secs(1000);
    const PAUSE: Duration = Duration::from_millis(20);

    fn lingering<S>(inner: S, silence: Duration, whole: Duration, shutdown: &Shutdown) -> Lingering<S> {
        Lingering { limits: Limits { silence, whole }, ..Lingering::new(inner, shutdown.clone()) }
    }

    #[tokio::test]
    async fn a_peer_that_sends_on_is_listened_to_until_it_ends() {
        let (_trigger, shutdown) = shutdown_pair();
        let (ours, mut theirs) = duplex(10);
        let mut ours = lingering(ours, FOREVER, FOREVER, &shutdown);
        let sends = tokio::spawn(async move {
            for _ in 0..5 {
                tokio::time::sleep(PAUSE).await;
                theirs.write_all(&[0; 100]).await.unwrap();
            }
            let mut heard = String::new();
            theirs.read_to_string(&mut heard).await.unwrap();
            heard
        });
        ours.write_all(b"no").await.unwrap();
        let began = Instant::now();
        ours.shutdown().await.unwrap();
        assert!(began.elapsed() >= 5 * PAUSE);
        assert_eq!(sends.await.unwrap(), "no");
    }

    #[tokio::test]
    async fn one_that_is_silent_or_never_ends_is_left() {
        let (_trigger, shutdown) = shutdown_pair();
        let (ours, _silent) = duplex(10);
        lingering(ours, PAUSE, FOREVER, &shutdown).shutdown().await.unwrap();
        let (ours, mut theirs) = duplex(10);
        tokio::spawn(async move {
            while theirs.write_all(&[0; 10]).await.is_ok() {
                tokio::time::sleep(PAUSE).await;
            }
        });
        lingering(ours, FOREVER, 10 * PAUSE, &shutdown).shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_stops_does_not_wait() {
        let (trigger, shutdown) = shutdown_pair();
        trigger.fire();
        let (ours, _theirs) = duplex(10);
        lingering(ours, FOREVER, FOREVER, &shutdown).shutdown().await.unwrap();
    }
}

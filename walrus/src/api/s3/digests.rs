//! Digests of a body under way. Those of a large one are computed beside each other and beside the disk, on
//! threads that may be kept busy; a thread stays for as long as there is something to do, so that a client
//! who sends slowly holds none. Those of a small one, and the CRCs, are computed at once.

use bytes::Bytes;
use karri_proto::checksum::{Algorithm, Checksum, Hasher};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Less is not worth waking a thread for.
const BEGIN_BYTES: usize = 128 << 10;
/// What may wait for a thread: enough to keep it busy, of one body and of all bodies together. A body among many needs
/// less, as the cores are busy with the others.
const WAITING_BYTES_MAX: usize = 4 << 20;
const ALL_WAITING_BYTES_MAX: usize = 12 << 20;
/// What a body may always have, however many there are.
const WAITING_BYTES_MIN: usize = 192 << 10;

/// How many bodies have lanes.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

pub struct Digests {
    inline: Vec<Hasher>,
    lanes: Vec<Arc<Lane>>,
    _counted: Option<Counted>,
}

struct Counted;

impl Counted {
    fn new() -> Self {
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Of one body among so many.
fn waiting_bytes_max(bodies: usize) -> usize {
    (ALL_WAITING_BYTES_MAX / bodies.max(1)).clamp(WAITING_BYTES_MIN, WAITING_BYTES_MAX)
}

impl Digests {
    pub fn new(algorithms: &[Algorithm], threads: bool) -> Self {
        let (mut inline, mut lanes) = (Vec::new(), Vec::new());
        let pair = [Algorithm::Md5, Algorithm::Sha256];
        let together =
            Hasher::md5_and_sha256_go_together() && pair.iter().all(|one| algorithms.contains(one));
        if threads && together {
            lanes.push(Arc::new(Lane::new(pair.map(Hasher::new).into())));
        }
        for algorithm in algorithms {
            match algorithm {
                Algorithm::Md5 | Algorithm::Sha256 if threads && together => {}
                Algorithm::Md5 | Algorithm::Sha1 | Algorithm::Sha256 | Algorithm::Sha512 if threads => {
                    lanes.push(Arc::new(Lane::new(vec![Hasher::new(*algorithm)])));
                }
                // The CRCs run at the memory's pace.
                _ => inline.push(Hasher::new(*algorithm)),
            }
        }
        let counted = (!lanes.is_empty()).then(Counted::new);
        Self { inline, lanes, _counted: counted }
    }

    /// Waits while a digest is behind.
    pub async fn update(&mut self, data: &Bytes) {
        for lane in &self.lanes {
            lane.push(data.clone());
        }
        for hasher in &mut self.inline {
            hasher.update(data);
        }
        let bytes_max = waiting_bytes_max(UNDER_WAY.load(Ordering::Relaxed));
        for lane in &self.lanes {
            lane.room(bytes_max).await;
        }
    }

    pub async fn finish(self) -> Vec<Checksum> {
        let mut checksums: Vec<Checksum> = self.inline.into_iter().map(Hasher::finish).collect();
        for lane in &self.lanes {
            lane.begin(1);
        }
        for lane in self.lanes {
            checksums.extend(lane.ended().await);
        }
        checksums
    }
}

/// Digests that are computed on one thread.
struct Lane {
    state: Mutex<State>,
    /// Something was done.
    progress: Notify,
}

struct State {
    /// Absent while a thread has it.
    hashers: Option<Vec<Hasher>>,
    waiting: VecDeque<Bytes>,
    /// Of all that waits, and of what is being hashed.
    bytes: usize,
    /// Who waits for room is woken when no more is left, and not for every piece.
    resume_bytes: usize,
}

impl Lane {
    fn new(hashers: Vec<Hasher>) -> Self {
        let state = State { hashers: Some(hashers), waiting: VecDeque::new(), bytes: 0, resume_bytes: 0 };
        Self { state: Mutex::new(state), progress: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, data: Bytes) {
        let mut state = self.lock();
        state.bytes += data.len();
        state.waiting.push_back(data);
        drop(state);
        self.begin(BEGIN_BYTES);
    }

    /// Wakes a thread if none is at it and at least so much waits.
    fn begin(self: &Arc<Self>, bytes_min: usize) {
        let mut state = self.lock();
        if state.bytes < bytes_min {
            return;
        }
        if let Some(hashers) = state.hashers.take() {
            let lane = self.clone();
            drop(tokio::task::spawn_blocking(move || lane.work(hashers)));
        }
    }

    /// Blocking. Until nothing waits.
    fn work(&self, mut hashers: Vec<Hasher>) {
        let mut done = 0;
        loop {
            let mut state = self.lock();
            let before = state.bytes;
            state.bytes -= done;
            let resumed = before > state.resume_bytes && state.bytes <= state.resume_bytes;
            let Some(piece) = state.waiting.pop_front() else {
                state.hashers = Some(hashers);
                drop(state);
                return self.progress.notify_one();
            };
            drop(state);
            if resumed {
                self.progress.notify_one();
            }
            Hasher::update_all(&mut hashers, &piece);
            done = piece.len();
        }
    }

    /// Waits while more than so much waits.
    async fn room(&self, bytes_max: usize) {
        let mut enough = bytes_max;
        loop {
            {
                let mut state = self.lock();
                if state.bytes <= enough {
                    return;
                }
                enough = bytes_max / 2;
                state.resume_bytes = enough;
            }
            self.progress.notified().await;
        }
    }

    async fn ended(&self) -> Vec<Checksum> {
        loop {
            {
                let mut state = self.lock();
                if state.bytes == 0
                    && let Some(hashers) = state.hashers.take()
                {
                    return hashers.into_iter().map(Hasher::finish).collect();
                }
            }
            self.progress.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_of_any_size_give_the_digests_of_the_whole() {
        let all: Bytes = (0..5_000_000u32).map(|n| (n * 7 % 251) as u8).collect::<Vec<_>>().into();
        let algorithms = [Algorithm::Md5, Algorithm::Sha256, Algorithm::Crc64Nvme];
        for (size, threads) in [(1 << 20, true), (100_000, true), (777, true), (5_000_000, false)] {
            let mut digests = Digests::new(&algorithms, threads);
            let mut rest = all.clone();
            while !rest.is_empty() {
                digests.update(&rest.split_to(size.min(rest.len()))).await;
            }
            for checksum in digests.finish().await {
                assert_eq!(checksum, Hasher::digest(checksum.algorithm(), &all), "{size} {threads}");
            }
        }
        let nothing = Digests::new(&algorithms, true).finish().await;
        assert_eq!(nothing.len(), 3);
    }

    #[test]
    fn a_body_among_many_lets_less_wait() {
        assert_eq!(waiting_bytes_max(0), WAITING_BYTES_MAX);
        assert_eq!(waiting_bytes_max(1), WAITING_BYTES_MAX);
        assert_eq!(waiting_bytes_max(32), 384 << 10);
        assert_eq!(waiting_bytes_max(4096), WAITING_BYTES_MIN);
    }

    #[test]
    fn uploads_that_send_nothing_hold_no_thread() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let piece = Bytes::from(vec![7; BEGIN_BYTES]);
            let mut idle = Vec::new();
            for _ in 0..20 {
                let mut digests = Digests::new(&[Algorithm::Md5, Algorithm::Sha256], true);
                digests.update(&piece).await;
                idle.push(digests);
            }
            let other = tokio::time::timeout(std::time::Duration::from_secs(20), async {
                let mut digests = Digests::new(&[Algorithm::Md5], true);
                digests.update(&piece).await;
                digests.finish().await
            });
            assert_eq!(other.await.unwrap(), [Hasher::digest(Algorithm::Md5, &piece)]);
            drop(idle);
        });
    }
}

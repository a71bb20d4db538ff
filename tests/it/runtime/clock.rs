//! A clock that jumps to the next moment at which somebody wakes up.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bedrock_key_guard::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};

pub struct FakeClock {
    now: Mutex<DateTime<Utc>>,
    /// Who is to be woken, and when.
    sleepers: Mutex<BTreeMap<(DateTime<Utc>, u64), Waker>>,
    /// True once the process was killed.
    is_killed: AtomicBool,
    /// How long each sleep was.
    slept: Mutex<Vec<Duration>>,
}

impl FakeClock {
    pub fn new(now: DateTime<Utc>) -> Self {
        Self {
            now: Mutex::new(now),
            sleepers: <_>::default(),
            is_killed: false.into(),
            slept: <_>::default(),
        }
    }

    /// Time passes while nothing runs.
    pub fn pass(&self, time: TimeDelta) {
        *self.now.lock().unwrap() += time;
    }

    /// The process ends here.
    pub async fn kill<T>(&self) -> T {
        self.is_killed.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    /// True if no more time than this has passed since `started`.
    pub fn now_is_within(&self, started: DateTime<Utc>, time: TimeDelta) -> bool {
        self.now() - started <= time
    }

    /// How long each sleep since the last time was to be.
    pub fn take_sleeps(&self) -> Vec<Duration> {
        std::mem::take(&mut self.slept.lock().unwrap())
    }

    /// Runs a future to its end. `None`: it was killed.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(value);
            }
            if self.is_killed.swap(false, Ordering::Relaxed) {
                self.sleepers.lock().unwrap().clear();
                return None;
            }
            while !woken.0.swap(false, Ordering::Relaxed) {
                let sleeper = self.sleepers.lock().unwrap().pop_first();
                let ((until, _), waker) = sleeper.expect("it waits for something that never happens");
                let mut now = self.now.lock().unwrap();
                *now = until.max(*now);
                waker.wake();
            }
        }
    }
}

impl Clock for FakeClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        self.slept.lock().unwrap().push(duration);
        self.pass_asleep(duration).await;
    }
}

impl FakeClock {
    /// Time passes for one task.
    pub async fn pass_asleep(&self, duration: Duration) {
        let until = self.now() + TimeDelta::from_std(duration).unwrap();
        std::future::poll_fn(|context| {
            if self.now() >= until {
                return Poll::Ready(());
            }
            let mut sleepers = self.sleepers.lock().unwrap();
            let number = sleepers.keys().map(|(_, number)| number + 1).max().unwrap_or_default();
            sleepers.insert((until, number), context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

//! Whether to stay awake for a moment after events have been handed over, because the application answers at once.

use std::time::{Duration, Instant};

/// An order that comes so soon after events have been handed over is an answer to them.
const AT_ONCE: Duration = Duration::from_micros(60);
/// The thread stays awake for so long: less than it takes to fall asleep and be woken.
const AWAKE: Duration = Duration::from_micros(25);
/// So many answers in a row are a habit.
const HABIT: u8 = 4;
/// Looks at the clock are this many looks at the queue apart.
const LOOKS: u32 = 16;

/// What is known of the application's habits. An application that answers from its callbacks, one command after the
/// other, gets its command on the way without a wake-up. For all others, for many events at a time (whose wake-up costs
/// each of them little), and in a process with one processor, the thread sleeps at once.
#[derive(Debug)]
pub struct Eager {
    possible: bool,
    /// When an event was handed to a thread that had been asleep, until it is known whether an answer came at once.
    told_at: Option<Instant>,
    /// Answers in a row.
    answers: u8,
}

impl Eager {
    /// Nothing is known.
    pub fn new() -> Self {
        let possible = std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1);
        Self { possible, told_at: None, answers: 0 }
    }

    /// One event has been handed to a thread that had been asleep.
    pub fn told(&mut self, now: Instant) {
        self.told_at = self.possible.then_some(now);
    }

    /// Before the thread sleeps: waits for an answer, where that is the application's habit. `answered` says whether
    /// there is one.
    pub fn linger(&mut self, answered: impl Fn() -> bool) {
        let Some(told_at) = self.told_at.filter(|_| self.answers >= HABIT) else { return };
        loop {
            for _ in 0..LOOKS {
                if answered() {
                    return;
                }
                std::hint::spin_loop();
            }
            if told_at.elapsed() >= AWAKE {
                self.answers = 0;
                self.told_at = None;
                return;
            }
        }
    }

    /// The thread has slept, or had no reason to, and there is an order or there is none.
    pub fn woke(&mut self, order: bool, now: Instant) {
        let Some(told_at) = self.told_at.take() else { return };
        let at_once = order && now.saturating_duration_since(told_at) <= AT_ONCE;
        self.answers = if at_once { self.answers.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How often the queue is looked at before the thread sleeps.
    fn looks(eager: &mut Eager) -> u32 {
        let looks = Cell::new(0);
        eager.linger(|| {
            looks.set(looks.get() + 1);
            false
        });
        looks.get()
    }

    fn habitual() -> Eager {
        Eager { possible: true, told_at: Some(Instant::now()), answers: HABIT }
    }

    #[test]
    fn the_thread_stays_awake_for_a_habit_alone_and_not_for_long() {
        let mut eager = Eager { answers: HABIT - 1, ..habitual() };
        assert_eq!(looks(&mut eager), 0);
        let mut eager = habitual();
        assert!(looks(&mut eager) > 0);
        eager.told(Instant::now());
        assert_eq!(looks(&mut eager), 0, "the habit has been broken");
    }

    #[test]
    fn an_answer_ends_the_wait_and_keeps_the_habit() {
        let mut eager = habitual();
        let told_at = eager.told_at.unwrap();
        eager.linger(|| true);
        eager.woke(true, told_at + AT_ONCE);
        assert_eq!(eager.answers, HABIT + 1);
    }

    #[test]
    fn whoever_does_not_answer_or_answers_late_has_no_habit() {
        for (order, after) in [(false, Duration::ZERO), (true, AT_ONCE + Duration::from_nanos(1))] {
            let mut eager = habitual();
            let told_at = eager.told_at.unwrap();
            eager.woke(order, told_at + after);
            assert_eq!(eager.answers, 0);
        }
    }

    #[test]
    fn one_processor_alone_is_left_to_the_application() {
        let mut eager = Eager { possible: false, told_at: None, answers: HABIT };
        eager.told(Instant::now());
        assert_eq!(looks(&mut eager), 0);
    }
}

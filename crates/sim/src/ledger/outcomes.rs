//! How tasks end, what is told of them until then, and by when that must be.

use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::session::Kind;

use super::{Entry, Ledger, PROGRESS_EVERY, RECOVERY, What};

/// How late a result may be.
const LATE: Duration = Duration::from_secs(2);

/// A transfer of so many bytes that takes long tells how it gets on.
const LONG: u64 = 400_000;

/// Beyond the time in which a dead link is noticed, a cancel takes no longer than this over a slow one.
const CANCEL_PATIENCE: Duration = Duration::from_secs(30);

/// Whoever sends to a user who is not there hears so within this time.
const AWAY_IS_TOLD: Duration = Duration::from_secs(11);

/// A session whose speed is limited may be ahead by so much time.
const AHEAD: Duration = Duration::from_millis(400);

impl Ledger {
    pub(super) fn ended(&mut self, at: usize, what: What, err: i32, now: Duration) {
        let entry = &mut self.entries[at];
        let call = entry.call.clone();
        let task = call.task;
        if let Some((before, _)) = entry.ended.replace((err, now)) {
            return self.violated(format!("I1: task {task:?} ended twice, with {before} and {err}"));
        }
        let told_between = entry.told_between;
        let (told, cancelled, left_open) = (entry.told, entry.cancelled, entry.left_open);
        let wished = entry.wished;
        if what != call.what {
            self.violated(format!("task {task:?} is {:?} and ended as {what:?}", call.what));
        }
        if !code::ALL.contains(&err) {
            self.violated(format!("task {task:?} ended with {err}, which is no code of the contract"));
        }
        let whats = if what == What::Command { "commands with" } else { "transfers with" };
        self.saw_times(whats, Some(err), 1);
        self.check_outcome(task, err);
        if let Some(first) = call.repeats {
            let expected = self.entries[first].ended.map(|(err, _)| err);
            if err != code::NOT_LOGIN && Some(err) != expected {
                self.violated(format!("task {task:?} was repeated and ended with {err} instead of {expected:?}"));
            }
        }
        let total = call.content.len() as u64;
        if what != What::Command && err == code::NOERR && told.map(|(sent, _)| sent) != Some(total) {
            self.violated(format!("I6: task {task:?} succeeded with progress {told:?} of {total}"));
        }
        if what != What::Command && err != code::NOERR && total > 0 && told.is_some_and(|(sent, _)| sent == total) {
            self.violated(format!("I6: task {task:?} failed with {err} after full progress"));
        }
        if let Some(rate) = self
            .send_rate
            .filter(|_| what != What::Command && err == code::NOERR && call.repeats.is_none() && !call.again)
            && now + AHEAD < call.at + Duration::from_micros(total * 1_000_000 / rate)
        {
            self.violated(format!("task {task:?} of {total} bytes took {:?} at {rate} a second", now - call.at));
        }
        let first = call.repeats.is_none() && !call.again;
        if self.patient && first && total > LONG && what != What::Command && err == code::NOERR && !told_between {
            self.violated(format!("I6: task {task:?} of {total} bytes took long and told nothing of it"));
        }
        let none_there = [code::SENDDATA_TARGETINVALID, code::FILE_SIZE_UNSUPPORT].contains(&err);
        let late = err == code::SOCKETTIMEOUT && now >= call.at + call.timeout;
        if call.in_vain && !late && (!none_there || now > call.at + AWAY_IS_TOLD) {
            self.violated(format!("task {task:?} to a user who has gone ended with {err} after {:?}", now - call.at));
        }
        if cancelled && err != code::SEND_CANCELLED {
            self.violated(format!("I7: task {task:?} ended with {err} though its cancelling had succeeded"));
        }
        if call.repeats.is_none() && err == code::SEND_CANCELLED && !cancelled && !left_open {
            self.violated(format!("I7: task {task:?} ended as cancelled, and no CancelRslt said so before"));
        }
        if call.probe && err != code::NOERR {
            self.violated(format!(
                "I12: {:?} to {} ended with {err} after everything was healed",
                call.what, call.target
            ));
        }
        let stuck = [code::SEND_OUTCOME_UNKNOWN, code::SOCKETTIMEOUT, code::CONNECTIONLOST].contains(&err);
        if stuck && self.healed_at.is_some_and(|at| now >= at + RECOVERY) {
            self.violated(format!("I12: task {task:?} ({what:?}) was stuck long after everything was healed: {err}"));
        }
        let only_by_faults = [
            code::SEND_OUTCOME_UNKNOWN,
            code::SOCKETTIMEOUT,
            code::CONNECTIONLOST,
            code::SENDDATA_TARGETINVALID,
            code::NOT_LOGIN,
            code::KICKOUT_BY_RELOGIN,
            code::ERR_DATA,
            code::INNER_ERR,
        ];
        let limit = self.file_limit.filter(|_| what == What::Transfer(Kind::File)).unwrap_or(u64::MAX);
        if (err == code::FILE_SIZE_UNSUPPORT) != (total > limit)
            && [code::FILE_SIZE_UNSUPPORT, code::NOERR].contains(&err)
        {
            self.violated(format!("task {task:?} of {total} bytes ended with {err}, and the limit is {limit}"));
        }
        // The session knows the limit since its login, and asks nobody.
        if total > limit && ![code::FILE_SIZE_UNSUPPORT, code::NOT_LOGIN].contains(&err) {
            self.violated(format!("task {task:?} of {total} bytes ended with {err}, and the limit is {limit}"));
        }
        let by_others = [code::SENDDATA_TARGETINVALID, code::KICKOUT_BY_RELOGIN].contains(&err);
        if wished && by_others && what != What::Command {
            self.violated(format!("I7: task {task:?} was cancelled, and ended with {err}"));
        }
        // Only a disk that changes bytes explains content that does not fit its hash.
        if err == code::ERR_DATA && !self.rotten {
            self.violated(format!("I3: task {task:?} ended with {err}, and no byte was changed on purpose"));
        }
        let unsettled = self.restless.is_some_and(|it| it == call.user || it == call.target);
        if self.calm && only_by_faults.contains(&err) && !call.in_vain && !unsettled {
            self.violated(format!("task {task:?} ({what:?}) ended with {err} although nothing was broken"));
        }
    }

    /// NOERR: it is there, once. 1107: anything up to once. All else: it is not there.
    fn check_outcome(&mut self, task: TaskId, err: i32) {
        let delivered = self.deliveries.get(&task).map_or(0, Vec::len);
        let again = self.used_again(task);
        let wrong = match err {
            // Each incarnation of the target may have taken it.
            code::NOERR if again => delivered == 0,
            // What an earlier attempt has delivered stays delivered.
            _ if again => false,
            code::NOERR => delivered != 1,
            code::SEND_OUTCOME_UNKNOWN => delivered > 1,
            _ => delivered != 0,
        };
        // A repeated call may also fail before it comes to asking for the stored outcome.
        let repeat = self.calls_by_task.get(&task).is_some_and(|calls| calls.len() > 1);
        if wrong && !(repeat && err == code::NOT_LOGIN) {
            self.violated(format!("I2: task {task:?} ended with {err}, delivered {delivered} times"));
        }
    }

    pub(super) fn progress(&mut self, at: usize, sent: u64, total: u64, now: Duration) {
        let entry = &mut self.entries[at];
        let task = entry.call.task;
        let size = entry.call.content.len() as u64;
        let before = entry.told.replace((sent, now));
        let wrong = match before {
            _ if entry.ended.is_some() => Some("after the end"),
            _ if total != size || sent > total => Some("beyond the size"),
            None if sent != 0 => Some("not from 0"),
            Some((before, _)) if sent < before => Some("backwards"),
            _ => None,
        };
        let too_often = sent != total && entry.paced.is_some_and(|last| now < last + PROGRESS_EVERY);
        entry.paced = Some(now);
        entry.told_between |= sent > 0 && sent < total;
        if let Some(wrong) = wrong {
            self.violated(format!("I6: progress of task {task:?} {wrong}: {sent} of {total} after {before:?}"));
        } else if too_often {
            self.violated(format!("progress of task {task:?} is told too often"));
        }
    }

    pub(super) fn cancel_answered(&mut self, party: usize, task: TaskId, err: i32, cookie: usize, now: Duration) {
        let Some(cancel) = self.cancels.get_mut(&cookie).filter(|it| it.party == party && it.task == task) else {
            return self.violated(format!("I7: a cancel result for a cancel never called: task {task:?}"));
        };
        if std::mem::replace(&mut cancel.answered, true) {
            return self.violated(format!("I7: two cancel results for task {task:?}"));
        }
        if now > cancel.at + self.heartbeat * 2 + CANCEL_PATIENCE {
            let late = now - cancel.at;
            return self.violated(format!("I7: the cancel result of task {task:?} took {late:?}"));
        }
        self.saw_times("cancels with", Some(err), 1);
        let calls = self.calls_by_task.get(&task).cloned().unwrap_or_default();
        let runs = |at: &&usize| self.entries[**at].ended.is_none() && self.entries[**at].call.party == party;
        match (err, calls.iter().find(runs)) {
            (code::NOERR, Some(at)) => self.entries[*at].cancelled = true,
            (code::CONNECTIONLOST, Some(at)) => {
                let entry = &mut self.entries[*at];
                (entry.left_open, entry.wished) = (true, true);
            }
            (code::TRANSID_INVALID, Some(at)) => self.entries[*at].wished = true,
            (code::NOERR | code::CONNECTIONLOST, None) => {
                self.violated(format!("I7: cancelling task {task:?} gave {err}, and there is no such task"));
            }
            _ => {}
        }
    }

    pub(super) fn must_have_ended(&mut self, at: usize, now: Duration) {
        let Entry { call, told, ended, .. } = &self.entries[at];
        let (task, what) = (call.task, call.what);
        let Some((err, ended)) = *ended else {
            return self.violated(format!("I1: task {task:?} ({what:?}) of party {} has not ended", call.party));
        };
        let by = match (what, told) {
            (What::Command, _) => call.at + call.timeout,
            // After the last progress that is told, others may count that are held back: those within a moment, and
            // the one that completes the content.
            (_, Some((_, last))) if err != code::NOERR => *last + PROGRESS_EVERY + call.timeout * 2,
            (_, Some(_)) => now,
            (_, None) => call.at + call.timeout,
        };
        if ended > by + LATE {
            self.violated(format!("I1: task {task:?} ({what:?}) ended with {err} at {ended:?}, due by {by:?}"));
        }
    }
}

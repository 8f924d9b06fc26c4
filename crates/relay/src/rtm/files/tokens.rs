//! Tokens: each lets one sender send one file to one target.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crvideo_proto::rtm::code;
use tokio::sync::Notify;

use crate::rtm::{Refusal, Target};
use crate::store::{Watch, random_hex};

/// Tokens that are remembered, used ones too until they expire.
const MAX_TOKENS: usize = 200_000;
/// A quest with a file must be here whole in this time; it may outlast its token.
pub(super) const LONGEST_UPLOAD: Duration = Duration::from_secs(600);

/// Whom a token is for, in as many bytes whatever the number of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    User(i64),
    /// A hash over the ids in ascending order.
    Users([u8; 32]),
    Group(i64),
    Room(i64),
    Everyone,
}

impl Scope {
    fn of(target: &Target) -> Self {
        match target {
            Target::User(id) => Scope::User(*id),
            Target::Group(id) => Scope::Group(*id),
            Target::Room(id) => Scope::Room(*id),
            Target::Everyone => Scope::Everyone,
            Target::Users(ids) => {
                let mut ids = ids.clone();
                ids.sort_unstable();
                ids.dedup();
                let mut hasher = blake3::Hasher::new();
                for id in ids {
                    hasher.update(&id.to_be_bytes());
                }
                Scope::Users(hasher.finalize().into())
            }
        }
    }

    /// The method that sends to such a target.
    fn method(&self) -> &'static str {
        match self {
            Scope::User(_) => "sendfile",
            Scope::Users(_) => "sendfiles",
            Scope::Group(_) => "sendgroupfile",
            Scope::Room(_) => "sendroomfile",
            Scope::Everyone => "broadcastfile",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// An attempt has it; another one waits for the outcome.
    Claimed,
    Used,
}

#[derive(Debug)]
struct Token {
    project: i64,
    from: i64,
    scope: Scope,
    /// Who hears what becomes of the file.
    watch: Option<Watch>,
    expires: Instant,
    state: State,
}

#[derive(Debug, Default)]
struct Table {
    by_text: HashMap<String, Token>,
    /// In the order in which they expire.
    order: VecDeque<(Instant, String)>,
}

/// All tokens. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    table: Arc<Mutex<Table>>,
    /// Told whenever an attempt lets go of a token.
    released: Arc<Notify>,
    life: Duration,
    most: usize,
}

fn refuse(text: impl Into<String>) -> Refusal {
    Refusal::new(code::BAD_FILE, text)
}

impl Tokens {
    /// No token yet; each will live for `life`.
    pub(super) fn new(life: Duration) -> Self {
        Self { table: Arc::default(), released: Arc::default(), life, most: MAX_TOKENS }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token: 32 hexadecimal digits that nobody can guess.
    pub(super) fn issue(
        &self,
        project: i64,
        from: i64,
        target: &Target,
        watch: Option<Watch>,
    ) -> Result<String, Refusal> {
        let text = random_hex().map_err(|error: io::Error| {
            tracing::error!(%error, "no random numbers for a file token");
            Refusal::new(code::UNKNOWN, "the relay has no random numbers just now; try again later")
        })?;
        let now = Instant::now();
        let mut table = self.table();
        while table.order.front().is_some_and(|(gone, _)| *gone <= now)
            && let Some((_, oldest)) = table.order.pop_front()
        {
            table.by_text.remove(&oldest);
        }
        if table.order.len() >= self.most {
            return Err(Refusal::new(code::QUEUE_FULL, "too many file tokens wait to be used; try again later"));
        }
        let expires = now + self.life;
        let token = Token { project, from, scope: Scope::of(target), watch, expires, state: State::Free };
        table.by_text.insert(text.clone(), token);
        table.order.push_back((expires + LONGEST_UPLOAD, text.clone()));
        Ok(text)
    }

    /// Makes a token that is known beforehand.
    #[cfg(test)]
    pub(super) fn plant(&self, text: &str, project: i64, from: i64, target: &Target) {
        let expires = Instant::now() + self.life;
        let token = Token { project, from, scope: Scope::of(target), watch: None, expires, state: State::Free };
        self.table().by_text.insert(text.to_owned(), token);
    }

    /// Says early whether a token could be good for a file that `from` sends since `began`. What it is for is left to
    /// [`Tokens::claim`].
    pub(super) fn check(&self, text: &str, project: i64, from: i64, began: Instant) -> Result<(), Refusal> {
        self.table().find(text, project, from, began).map(|_| ())
    }

    /// Takes a token for one attempt, after any other attempt with it has ended.
    pub(super) async fn claim(
        &self,
        text: &str,
        project: i64,
        from: i64,
        target: &Target,
        began: Instant,
    ) -> Result<Claim, Refusal> {
        let scope = Scope::of(target);
        loop {
            let mut released = std::pin::pin!(self.released.notified());
            // Enabled before the look, so that a release between the two is not missed.
            released.as_mut().enable();
            if let Some(claim) = self.claim_free(text, project, from, scope, began)? {
                return Ok(claim);
            }
            released.await;
        }
    }

    /// Takes a token for one attempt, if no other attempt has it.
    pub(super) fn try_claim(
        &self,
        text: &str,
        project: i64,
        from: i64,
        target: &Target,
        began: Instant,
    ) -> Result<Claim, Refusal> {
        let claim = self.claim_free(text, project, from, Scope::of(target), began)?;
        claim.ok_or_else(|| refuse("another upload uses the file token at the moment"))
    }

    /// Takes a token; `None` while another attempt has it.
    fn claim_free(
        &self,
        text: &str,
        project: i64,
        from: i64,
        scope: Scope,
        began: Instant,
    ) -> Result<Option<Claim>, Refusal> {
        let mut table = self.table();
        let token = table.find(text, project, from, began)?;
        if token.scope.method() != scope.method() {
            let (is, not) = (token.scope.method(), scope.method());
            return Err(refuse(format!("the file token is for {is}, not for {not}")));
        }
        if token.scope != scope {
            return Err(refuse("the file token is for another target"));
        }
        let free = token.state == State::Free;
        if free {
            token.state = State::Claimed;
        }
        let watch = token.watch;
        Ok(free.then(|| Claim { tokens: self.clone(), text: text.to_owned(), watch }))
    }
}

impl Table {
    fn find(&mut self, text: &str, project: i64, from: i64, began: Instant) -> Result<&mut Token, Refusal> {
        // Whoever has a token of another project is told as little as whoever has none.
        let token = self.by_text.get_mut(text).filter(|token| token.project == project);
        let Some(token) = token else {
            return Err(refuse("the file token is unknown; ask for one with filetoken"));
        };
        if token.from != from {
            return Err(refuse("the file token is for another sender"));
        }
        if token.state == State::Used {
            return Err(refuse("the file token has been used; ask for another one with filetoken"));
        }
        if token.expires <= began {
            return Err(refuse("the file token has expired; ask for another one with filetoken"));
        }
        Ok(token)
    }
}

/// A token in use by one attempt. Dropped, it lets the next attempt have it.
#[derive(Debug)]
pub(super) struct Claim {
    tokens: Tokens,
    text: String,
    watch: Option<Watch>,
}

impl Claim {
    /// Who hears what becomes of the file.
    pub(super) fn watch(&self) -> Option<Watch> {
        self.watch
    }

    /// The attempt has succeeded: the token is void.
    pub(super) fn used(self) {
        self.set(State::Used);
    }

    fn set(&self, state: State) {
        if let Some(token) = self.tokens.table().by_text.get_mut(&self.text)
            && token.state == State::Claimed
        {
            token.state = state;
        }
        self.tokens.released.notify_waiters();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.set(State::Free);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(60);

    async fn claim(tokens: &Tokens, text: &str, target: &Target) -> Result<Claim, String> {
        tokens.claim(text, 1, 2, target, Instant::now()).await.map_err(|refusal| {
            assert_eq!(refusal.code, code::BAD_FILE);
            refusal.text
        })
    }

    #[tokio::test]
    async fn a_token_serves_its_sender_its_kind_and_its_target() {
        let tokens = Tokens::new(LIFE);
        let target = Target::Users(vec![3, 1, 2]);
        let text = tokens.issue(1, 2, &target, None).unwrap();
        assert!(text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let refused = async |project, from, target: &Target| {
            tokens.claim(&text, project, from, target, Instant::now()).await.unwrap_err().text
        };
        assert!(refused(9, 2, &target).await.contains("unknown"));
        assert!(refused(1, 9, &target).await.contains("another sender"));
        assert!(refused(1, 2, &Target::User(1)).await.contains("is for sendfiles, not for sendfile"));
        assert!(refused(1, 2, &Target::Users(vec![1, 2])).await.contains("another target"));
        assert!(claim(&tokens, "x", &target).await.unwrap_err().contains("unknown"));
        assert!(tokens.check(&text, 1, 2, Instant::now()).is_ok());
        // The order of the ids and repeats among them do not matter.
        claim(&tokens, &text, &Target::Users(vec![1, 2, 2, 3])).await.unwrap().used();
        assert!(claim(&tokens, &text, &target).await.unwrap_err().contains("has been used"));
        assert!(tokens.check(&text, 1, 2, Instant::now()).is_err());
    }

    #[tokio::test]
    async fn a_token_is_free_again_until_an_attempt_succeeds() {
        let tokens = Tokens::new(LIFE);
        let text = tokens.issue(1, 2, &Target::Everyone, None).unwrap();
        drop(claim(&tokens, &text, &Target::Everyone).await.unwrap());
        let first = claim(&tokens, &text, &Target::Everyone).await.unwrap();
        let (others, shared) = (tokens.clone(), text.clone());
        let second = tokio::spawn(async move { claim(&others, &shared, &Target::Everyone).await.map(drop) });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap().is_ok());
        let first = claim(&tokens, &text, &Target::Everyone).await.unwrap();
        let others = tokens.clone();
        let second = tokio::spawn(async move { claim(&others, &text, &Target::Everyone).await.map(drop) });
        tokio::task::yield_now().await;
        first.used();
        assert!(second.await.unwrap().unwrap_err().contains("has been used"));
    }

    #[tokio::test]
    async fn a_token_expires_for_uploads_that_begin_later() {
        let tokens = Tokens::new(LIFE);
        let text = tokens.issue(1, 2, &Target::Room(5), None).unwrap();
        let late = Instant::now() + LIFE;
        let refusal = tokens.claim(&text, 1, 2, &Target::Room(5), late).await.unwrap_err();
        assert!(refusal.text.contains("expired"));
        assert!(claim(&tokens, &text, &Target::Room(5)).await.is_ok());
    }

    #[test]
    fn tokens_are_bounded_in_number() {
        let tokens = Tokens { most: 2, ..Tokens::new(LIFE) };
        assert!(
            tokens.issue(1, 2, &Target::User(3), None).is_ok() && tokens.issue(1, 2, &Target::User(3), None).is_ok()
        );
        assert_eq!(tokens.issue(1, 2, &Target::User(3), None).unwrap_err().code, code::QUEUE_FULL);
        let forgetful = Tokens { most: 2, ..Tokens::new(Duration::ZERO) };
        let texts: Vec<_> = (0..2).map(|_| forgetful.issue(1, 2, &Target::User(3), None).unwrap()).collect();
        forgetful.table().order.iter_mut().for_each(|(gone, _)| *gone = Instant::now());
        assert!(forgetful.issue(1, 2, &Target::User(3), None).is_ok());
        assert!(!forgetful.table().by_text.contains_key(&texts[0]));
    }
}

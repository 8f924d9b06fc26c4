//! Groups and revoked tokens: what every relay that serves a project must agree on.

use std::future::Future;
use std::pin::Pin;

use rusqlite::Connection;

use super::{Database, StoreError};

/// What a store answers in its own time.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// One group of one project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) project: i64,
    pub(crate) id: i64,
}

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Members of one group.
    pub(crate) members: usize,
    /// Groups of one user.
    pub(crate) groups: usize,
}

/// What became of users who were to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// All of them are members now.
    All,
    /// Nobody was added: the group would have too many members.
    GroupFull,
    /// Nobody was added: this one would be in too many groups.
    TooManyGroups(i64),
}

/// Tokens of a user that are void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revoked {
    pub(crate) project: i64,
    pub(crate) user: String,
    /// Those that were made up to this second since 1970.
    pub(crate) until: u64,
}

/// One token that is void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RevokedId {
    pub(crate) project: i64,
    /// The token's own id.
    pub(crate) id: String,
    /// When it expires by itself, in seconds since 1970.
    pub(crate) expires: u64,
}

/// Groups and revoked tokens. What is answered is on disk.
pub(crate) trait Directory: Send + Sync {
    /// Adds users to a group, all or none. Who is a member already stays one.
    fn add_members(&self, group: Group, users: Vec<i64>, bounds: Bounds) -> Answer<'_, Added>;
    /// Takes users out of a group.
    fn remove_members(&self, group: Group, users: Vec<i64>) -> Answer<'_, ()>;
    /// Takes everybody out of a group.
    fn remove_group(&self, group: Group) -> Answer<'_, ()>;
    /// A group's members, ascending.
    fn members(&self, group: Group) -> Answer<'_, Vec<i64>>;
    /// How many members a group has.
    fn count(&self, group: Group) -> Answer<'_, i64>;
    /// Whether a user is in a group.
    fn is_member(&self, group: Group, user: i64) -> Answer<'_, bool>;
    /// The groups that a user is in, ascending.
    fn groups_of(&self, project: i64, user: i64) -> Answer<'_, Vec<i64>>;
    /// Voids tokens.
    fn revoke(&self, revoked: Revoked) -> Answer<'_, ()>;
    /// All void tokens.
    fn revoked(&self) -> Answer<'_, Vec<Revoked>>;
    /// Voids one token.
    fn revoke_id(&self, revoked: RevokedId) -> Answer<'_, ()>;
    /// All single tokens that are void.
    fn revoked_ids(&self) -> Answer<'_, Vec<RevokedId>>;
    /// Forgets the single tokens that have expired by themselves before a second since 1970.
    fn sweep_revoked_ids(&self, before: u64) -> Answer<'_, ()>;
}

impl Directory for Database {
    fn add_members(&self, group: Group, users: Vec<i64>, bounds: Bounds) -> Answer<'_, Added> {
        Box::pin(self.run(move |db| add(db, group, &users, bounds)))
    }

    fn remove_members(&self, group: Group, users: Vec<i64>) -> Answer<'_, ()> {
        Box::pin(self.run(move |db| remove(db, group, &users)))
    }

    fn remove_group(&self, group: Group) -> Answer<'_, ()> {
        Box::pin(self.run(move |db| {
            let mut delete = db.prepare_cached("DELETE FROM group_member WHERE project = ? AND grp = ?")?;
            delete.execute([group.project, group.id]).map(drop)
        }))
    }

    fn members(&self, group: Group) -> Answer<'_, Vec<i64>> {
        let sql = "SELECT user FROM group_member WHERE project = ? AND grp = ? ORDER BY user";
        Box::pin(self.run(move |db| numbers(db, sql, [group.project, group.id])))
    }

    fn count(&self, group: Group) -> Answer<'_, i64> {
        Box::pin(self.run(move |db| members_of(db, group)))
    }

    fn is_member(&self, group: Group, user: i64) -> Answer<'_, bool> {
        let sql = "SELECT 1 FROM group_member WHERE project = ? AND grp = ? AND user = ?";
        Box::pin(self.run(move |db| db.prepare_cached(sql)?.exists([group.project, group.id, user])))
    }

    fn groups_of(&self, project: i64, user: i64) -> Answer<'_, Vec<i64>> {
        let sql = "SELECT grp FROM group_member WHERE project = ? AND user = ? ORDER BY grp";
        Box::pin(self.run(move |db| numbers(db, sql, [project, user])))
    }

    fn revoke(&self, revoked: Revoked) -> Answer<'_, ()> {
        let sql = "INSERT INTO revoked_token VALUES (?1, ?2, ?3, row_sum(?1, ?2, ?3))
                   ON CONFLICT (project, user) DO UPDATE SET
                       until = max(until, ?3), sum = row_sum(?1, ?2, max(until, ?3))";
        Box::pin(self.run(move |db| {
            let until = i64::try_from(revoked.until).unwrap_or(i64::MAX);
            db.prepare_cached(sql)?.execute((revoked.project, revoked.user, until)).map(drop)
        }))
    }

    fn revoke_id(&self, revoked: RevokedId) -> Answer<'_, ()> {
        let sql = "INSERT INTO revoked_token_id VALUES (?1, ?2, ?3, row_sum(?1, ?2, ?3))
                   ON CONFLICT (project, id) DO UPDATE SET
                       expires = max(expires, ?3), sum = row_sum(?1, ?2, max(expires, ?3))";
        Box::pin(self.run(move |db| {
            let expires = i64::try_from(revoked.expires).unwrap_or(i64::MAX);
            db.prepare_cached(sql)?.execute((revoked.project, revoked.id, expires)).map(drop)
        }))
    }

    fn revoked_ids(&self) -> Answer<'_, Vec<RevokedId>> {
        Box::pin(self.run(|db| {
            let mut all = db.prepare("SELECT project, id, expires FROM revoked_token_id")?;
            let rows = all.query_map([], |row| {
                let expires: i64 = row.get(2)?;
                Ok(RevokedId { project: row.get(0)?, id: row.get(1)?, expires: u64::try_from(expires).unwrap_or(0) })
            })?;
            rows.collect()
        }))
    }

    fn sweep_revoked_ids(&self, before: u64) -> Answer<'_, ()> {
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        Box::pin(self.run(move |db| {
            db.prepare_cached("DELETE FROM revoked_token_id WHERE expires < ?")?.execute([before]).map(drop)
        }))
    }

    fn revoked(&self) -> Answer<'_, Vec<Revoked>> {
        Box::pin(self.run(|db| {
            let mut all = db.prepare("SELECT project, user, until FROM revoked_token")?;
            let rows = all.query_map([], |row| {
                let until: i64 = row.get(2)?;
                Ok(Revoked { project: row.get(0)?, user: row.get(1)?, until: u64::try_from(until).unwrap_or(0) })
            })?;
            rows.collect()
        }))
    }
}

fn numbers(db: &Connection, sql: &str, of: [i64; 2]) -> rusqlite::Result<Vec<i64>> {
    db.prepare_cached(sql)?.query_map(of, |row| row.get(0))?.collect()
}

fn members_of(db: &Connection, group: Group) -> rusqlite::Result<i64> {
    let sql = "SELECT count(*) FROM group_member WHERE project = ? AND grp = ?";
    db.prepare_cached(sql)?.query_row([group.project, group.id], |row| row.get(0))
}

fn groups_of_are_above(db: &Connection, project: i64, user: i64, most: usize) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM group_member WHERE project = ? AND user = ? LIMIT 1 OFFSET ?";
    db.prepare_cached(sql)?.exists([project, user, i64::try_from(most).unwrap_or(i64::MAX)])
}

fn add(db: &Connection, group: Group, users: &[i64], bounds: Bounds) -> rusqlite::Result<Added> {
    let mut added = Vec::new();
    for user in users {
        let mut insert = db.prepare_cached("INSERT OR IGNORE INTO group_member VALUES (?, ?, ?)")?;
        if insert.execute([group.project, group.id, *user])? == 1 {
            added.push(*user);
        }
    }
    let mut outcome = Added::All;
    if !added.is_empty() && members_of(db, group)? > i64::try_from(bounds.members).unwrap_or(i64::MAX) {
        outcome = Added::GroupFull;
    }
    for user in &added {
        if groups_of_are_above(db, group.project, *user, bounds.groups)? {
            outcome = Added::TooManyGroups(*user);
        }
    }
    if outcome != Added::All {
        remove(db, group, &added)?;
    }
    Ok(outcome)
}

fn remove(db: &Connection, group: Group, users: &[i64]) -> rusqlite::Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM group_member WHERE project = ? AND grp = ? AND user = ?")?;
    users.iter().try_for_each(|user| delete.execute([group.project, group.id, *user]).map(drop))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { members: 3, groups: 2 };

    fn group(project: i64, id: i64) -> Group {
        Group { project, id }
    }

    #[tokio::test]
    async fn members_of_a_group_are_of_its_project_alone() {
        let directory: Box<dyn Directory> = Box::new(Database::open(None).unwrap());
        let ours = group(1, 7);
        assert_eq!(directory.add_members(ours, vec![3, -1, 3], BOUNDS).await, Ok(Added::All));
        assert_eq!(directory.add_members(group(2, 7), vec![9], BOUNDS).await, Ok(Added::All));
        assert_eq!(directory.members(ours).await, Ok(vec![-1, 3]));
        assert_eq!(directory.count(ours).await, Ok(2));
        assert_eq!(directory.is_member(ours, 3).await, Ok(true));
        assert_eq!(directory.is_member(ours, 9).await, Ok(false));
        assert_eq!(directory.groups_of(1, 3).await, Ok(vec![7]));
        assert_eq!(directory.groups_of(1, 9).await, Ok(vec![]));
        directory.remove_members(ours, vec![3, 4]).await.unwrap();
        assert_eq!(directory.members(ours).await, Ok(vec![-1]));
        directory.remove_group(ours).await.unwrap();
        assert_eq!(directory.members(ours).await, Ok(vec![]));
        assert_eq!(directory.members(group(2, 7)).await, Ok(vec![9]));
    }

    #[tokio::test]
    async fn beyond_a_bound_nobody_is_added() {
        let directory = Database::open(None).unwrap();
        let full = group(1, 1);
        directory.add_members(full, vec![1, 2], BOUNDS).await.unwrap();
        assert_eq!(directory.add_members(full, vec![2, 3, 4], BOUNDS).await, Ok(Added::GroupFull));
        assert_eq!(directory.members(full).await, Ok(vec![1, 2]));
        assert_eq!(directory.add_members(full, vec![1, 2, 3], BOUNDS).await, Ok(Added::All));
        directory.add_members(group(1, 2), vec![1], BOUNDS).await.unwrap();
        assert_eq!(directory.add_members(group(1, 3), vec![5, 1], BOUNDS).await, Ok(Added::TooManyGroups(1)));
        assert_eq!(directory.members(group(1, 3)).await, Ok(vec![]));
        // Who is a member already needs no place.
        assert_eq!(directory.add_members(full, vec![1], BOUNDS).await, Ok(Added::All));
    }

    #[tokio::test]
    async fn a_single_token_stays_void_until_it_has_expired() {
        let directory = Database::open(None).unwrap();
        let revoked = |id: &str, expires| RevokedId { project: 1, id: id.to_owned(), expires };
        for (id, expires) in [("a", 5), ("a", 9), ("a", 7), ("b", 8)] {
            directory.revoke_id(revoked(id, expires)).await.unwrap();
        }
        assert_eq!(directory.revoked_ids().await, Ok(vec![revoked("a", 9), revoked("b", 8)]));
        directory.sweep_revoked_ids(9).await.unwrap();
        assert_eq!(directory.revoked_ids().await, Ok(vec![revoked("a", 9)]));
    }

    #[tokio::test]
    async fn a_revocation_never_moves_back() {
        let directory = Database::open(None).unwrap();
        let revoked = |until| Revoked { project: 1, user: "7".to_owned(), until };
        for until in [5, 9, 6] {
            directory.revoke(revoked(until)).await.unwrap();
        }
        assert_eq!(directory.revoked().await, Ok(vec![revoked(9)]));
    }
}

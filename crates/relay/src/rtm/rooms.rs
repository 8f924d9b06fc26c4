//! Who is in which room of a project. Rooms live in memory: they are empty after a restart, and their servers fill
//! them again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crvideo_proto::rtm::code;

use super::Refusal;

/// Users in one room.
const MAX_ROOM_MEMBERS: usize = 100_000;
/// Rooms that one user is in.
const MAX_ROOMS_OF_USER: usize = 1_000;
/// Places in all rooms of a project together.
const MAX_PLACES: usize = 4_000_000;

/// The rooms of one project.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    members_by_room: HashMap<i64, BTreeSet<i64>>,
    rooms_by_user: BTreeMap<i64, BTreeSet<i64>>,
    /// Rooms that users have entered by themselves: they are there as long as they are connected.
    entered_by_user: HashMap<i64, BTreeSet<i64>>,
    places: usize,
}

impl Rooms {
    /// A server puts users into a room, all or none. Who is there already stays, from now on also without a connection.
    pub(super) fn put(&mut self, room: i64, users: &[i64]) -> Result<(), Refusal> {
        self.enter(room, users)?;
        for user in users {
            self.forget_entered(room, *user);
        }
        Ok(())
    }

    /// A user enters a room by himself.
    pub(super) fn come(&mut self, room: i64, user: i64) -> Result<(), Refusal> {
        if !self.has(room, user) {
            self.enter(room, &[user])?;
            self.entered_by_user.entry(user).or_default().insert(room);
        }
        Ok(())
    }

    /// A user's connection has ended: he leaves the rooms that he has entered by himself.
    pub(super) fn go(&mut self, user: i64) {
        for room in self.entered_by_user.remove(&user).unwrap_or_default() {
            self.leave(room, &[user]);
        }
    }

    fn forget_entered(&mut self, room: i64, user: i64) {
        if let Some(rooms) = self.entered_by_user.get_mut(&user) {
            rooms.remove(&room);
            if rooms.is_empty() {
                self.entered_by_user.remove(&user);
            }
        }
    }

    fn enter(&mut self, room: i64, users: &[i64]) -> Result<(), Refusal> {
        let members = self.members_by_room.get(&room);
        let new: BTreeSet<i64> =
            users.iter().copied().filter(|user| members.is_none_or(|members| !members.contains(user))).collect();
        let present = members.map_or(0, BTreeSet::len);
        if present + new.len() > MAX_ROOM_MEMBERS {
            let text = format!("room {room} would have more than {MAX_ROOM_MEMBERS} members");
            return Err(Refusal::new(code::TOO_MANY, text));
        }
        if self.places + new.len() > MAX_PLACES {
            let text = format!("the project would have more than {MAX_PLACES} places in its rooms");
            return Err(Refusal::new(code::TOO_MANY, text));
        }
        let many = |user: &&i64| self.rooms_by_user.get(user).is_some_and(|rooms| rooms.len() >= MAX_ROOMS_OF_USER);
        if let Some(user) = new.iter().find(many) {
            let text = format!("user {user} would be in more than {MAX_ROOMS_OF_USER} rooms");
            return Err(Refusal::new(code::TOO_MANY_ROOMS, text));
        }
        self.places += new.len();
        for user in &new {
            self.rooms_by_user.entry(*user).or_default().insert(room);
        }
        if !new.is_empty() {
            self.members_by_room.entry(room).or_default().extend(new);
        }
        Ok(())
    }

    /// Takes users out of a room, and returns those who were there.
    pub(super) fn leave(&mut self, room: i64, users: &[i64]) -> Vec<i64> {
        let Some(members) = self.members_by_room.get_mut(&room) else { return Vec::new() };
        let left: Vec<i64> = users.iter().copied().filter(|user| members.remove(user)).collect();
        if members.is_empty() {
            self.members_by_room.remove(&room);
        }
        self.places -= left.len();
        for user in &left {
            if let Some(rooms) = self.rooms_by_user.get_mut(user) {
                rooms.remove(&room);
                if rooms.is_empty() {
                    self.rooms_by_user.remove(user);
                }
            }
            self.forget_entered(room, *user);
        }
        left
    }

    /// Whether a user is in a room.
    pub(super) fn has(&self, room: i64, user: i64) -> bool {
        self.members_by_room.get(&room).is_some_and(|members| members.contains(&user))
    }

    /// The rooms that a user is in, ascending.
    pub(super) fn of_user(&self, user: i64) -> Vec<i64> {
        self.rooms_by_user.get(&user).into_iter().flatten().copied().collect()
    }

    /// Who is in a room, ascending.
    pub(super) fn members(&self, room: i64) -> Vec<i64> {
        self.members_by_room.get(&room).into_iter().flatten().copied().collect()
    }

    /// How many are in a room.
    pub(super) fn count(&self, room: i64) -> usize {
        self.members_by_room.get(&room).map_or(0, BTreeSet::len)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn users_enter_and_leave_and_nothing_is_kept_of_empty_rooms() {
        let mut rooms = Rooms::default();
        rooms.enter(7, &[3, 1, 3]).unwrap();
        rooms.enter(7, &[1, 2]).unwrap();
        rooms.enter(8, &[1]).unwrap();
        assert_eq!((rooms.members(7), rooms.count(7), rooms.places), (vec![1, 2, 3], 3, 4));
        rooms.leave(7, &[1, 9]);
        rooms.leave(9, &[1]);
        assert_eq!((rooms.members(7), rooms.members(8), rooms.members(9)), (vec![2, 3], vec![1], vec![]));
        rooms.leave(7, &[2, 3]);
        rooms.leave(8, &[1]);
        assert!(rooms.members_by_room.is_empty() && rooms.rooms_by_user.is_empty() && rooms.places == 0);
    }

    #[test]
    fn who_goes_leaves_the_rooms_that_he_has_entered_by_himself_and_no_others() {
        let mut rooms = Rooms::default();
        rooms.put(1, &[7]).unwrap();
        for room in 1..=4 {
            rooms.come(room, 7).unwrap();
        }
        rooms.put(3, &[7]).unwrap();
        assert_eq!((rooms.leave(4, &[7, 8]), rooms.leave(4, &[7])), (vec![7], vec![]));
        rooms.go(7);
        assert_eq!(rooms.of_user(7), [1, 3]);
        assert!(rooms.has(3, 7) && !rooms.has(2, 7) && rooms.entered_by_user.is_empty());
    }

    #[test]
    fn beyond_a_limit_nobody_enters() {
        let mut rooms = Rooms::default();
        for room in 0..1_000 {
            rooms.enter(room, &[1]).unwrap();
        }
        assert_eq!(rooms.enter(1_000, &[2, 1]).unwrap_err().code, code::TOO_MANY_ROOMS);
        assert_eq!(rooms.count(1_000), 0);
        rooms.enter(999, &[1]).unwrap();
        let crowd: Vec<i64> = (0..100_000).collect();
        rooms.enter(-1, &crowd[2..]).unwrap();
        assert_eq!(rooms.enter(-1, &[-7, -8, -9]).unwrap_err().code, code::TOO_MANY);
    }
}

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
    places: usize,
}

impl Rooms {
    /// Puts users into a room, all or none. Who is there already stays.
    pub(super) fn enter(&mut self, room: i64, users: &[i64]) -> Result<(), Refusal> {
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

    /// Takes users out of a room.
    pub(super) fn leave(&mut self, room: i64, users: &[i64]) {
        let Some(members) = self.members_by_room.get_mut(&room) else { return };
        for user in users.iter().filter(|user| members.remove(user)) {
            self.places -= 1;
            if let Some(rooms) = self.rooms_by_user.get_mut(user) {
                rooms.remove(&room);
                if rooms.is_empty() {
                    self.rooms_by_user.remove(user);
                }
            }
        }
        if members.is_empty() {
            self.members_by_room.remove(&room);
        }
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

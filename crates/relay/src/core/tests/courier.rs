//! What the relay itself sends for servers that speak RTM, and the mail that comes back.

use super::*;

fn rtm(id: u8) -> msg::Rtm {
    let (attrs, data) = ("{}".to_owned(), Bytes::from_static(b"text"));
    msg::Rtm { id: task(id), from: 7, kind: 1, place: 0, mid: 1, mtype: 30, mtime: 2, attrs, data }
}

fn offer(id: u8) -> msg::Offer {
    msg::Offer { task: task(id), kind: 2, name: "a.txt".into(), size: 5_000, repeated: false }
}

impl World {
    fn with_courier() -> Self {
        let mut world = Self::new();
        world.core.start_courier(world.now);
        world
    }

    fn post(&mut self, user: &str, message: &impl Message) -> bool {
        let posted = self.core.post(PROJECT, user, message, self.now);
        self.pump();
        posted
    }

    fn post_bulk(&mut self, user: &str, message: &impl Message) -> bool {
        let posted = self.core.post_bulk(PROJECT, user, ("7", self.core.courier_epoch()), message, self.now);
        self.pump();
        posted
    }

    fn mail(&mut self) -> Vec<(String, News)> {
        self.core.take_mail().into_iter().map(|mail| (mail.user.to_string(), mail.news)).collect()
    }
}

#[test]
fn a_message_reaches_the_session_and_its_acknowledgement_the_courier() {
    let mut world = World::with_courier();
    let bob = world.login("bob");
    assert_eq!(world.mail(), [("bob".to_owned(), News::Here)]);
    assert!(world.post("bob", &rtm(1)));
    assert_eq!(world.got::<msg::Rtm>(bob.link), [rtm(1)]);
    world.one_way(bob.link, &msg::Got { id: task(1) });
    assert_eq!(world.mail(), [("bob".to_owned(), News::Got(task(1)))]);
}

#[test]
fn nobody_is_reached_who_is_not_there_or_away_and_a_return_is_told() {
    let mut world = World::with_courier();
    assert!(!world.post("bob", &rtm(1)));
    let mut bob = world.login("bob");
    world.cut(bob.link);
    assert!(!world.post("bob", &rtm(1)) && !world.core.is_reachable(PROJECT, "bob"));
    world.resume(&mut bob);
    assert_eq!(world.mail().len(), 2);
    assert!(world.post("bob", &rtm(1)));
    assert!(!world.core.post(STRICT, "bob", &rtm(1), world.now), "another project's bob is another");
}

#[test]
fn a_transfer_waits_for_the_bulk_connection_and_its_answers_go_to_the_courier() {
    let mut world = World::with_courier();
    let mut bob = world.login("bob");
    world.mail();
    assert!(world.post_bulk("bob", &offer(1)));
    assert_eq!(world.got::<msg::Wake>(bob.link).len(), 1);
    let bulk = world.bulk(&mut bob);
    let offered = world.got_routed::<msg::Offer>(bulk).remove(0);
    assert_eq!((offered.from.as_str(), offered.message), ("7", offer(1)));
    assert!(world.post_bulk("bob", &data(0, 5_000)));
    assert_eq!(offsets(world.got_routed::<msg::Data>(bulk)), [0]);

    // A user who has the sender's name and another epoch hears nothing of the answers.
    let seven = world.login("7");
    world.mail();
    let relay = Client { user: "7", epoch: offered.epoch, ..seven.clone() };
    world.routed(bob.link, &relay, &confirm(5_000));
    world.routed(bob.link, &relay, &msg::Done { task: task(1), code: 0 });
    let done = News::Done(msg::Done { task: task(1), code: 0 });
    assert_eq!(world.mail(), [("bob".to_owned(), News::Confirm(confirm(5_000))), ("bob".to_owned(), done)]);
    assert!(world.got_routed::<msg::Done>(seven.link).is_empty());
    assert!(world.news(bob.link).is_empty());
}

#[test]
fn a_session_that_takes_nothing_is_not_buried_in_messages() {
    let mut world = World::with_courier();
    let bob = world.login("bob");
    world.stick(bob.link, true);
    let taken = (0..200).filter(|id| world.post("bob", &rtm(*id))).count();
    assert!((10..50).contains(&taken), "{taken}");
    world.stick(bob.link, false);
    assert!(world.post("bob", &rtm(1)));
}

#[test]
fn without_a_courier_there_is_no_mail() {
    let mut world = World::new();
    let bob = world.login("bob");
    world.one_way(bob.link, &msg::Got { id: task(1) });
    assert!(world.mail().is_empty());
}

#[test]
fn the_courier_hears_that_a_transfer_lost_bytes_with_the_bulk_connection() {
    let mut world = World::with_courier();
    let mut bob = world.login("bob");
    let bulk = world.bulk(&mut bob);
    world.mail();
    assert!(world.post_bulk("bob", &offer(1)));
    world.cut(bulk);
    world.bulk(&mut bob);
    assert_eq!(world.mail(), [("bob".to_owned(), News::Here)]);
}

#[test]
fn regression_an_offer_of_the_couriers_needs_no_bulk_connection() {
    let mut world = World::with_courier();
    let bob = world.login("bob");
    world.mail();
    let again = msg::Offer { repeated: true, ..offer(1) };
    let posted = world.core.post_offer(PROJECT, "bob", ("7", world.core.courier_epoch()), &again, world.now);
    world.pump();
    assert!(posted && world.got::<msg::Wake>(bob.link).is_empty());
    let offered = world.got_routed::<msg::Offer>(bob.link).remove(0);
    assert_eq!((offered.from.as_str(), &offered.message), ("7", &again));
    let relay = Client { user: "7", epoch: offered.epoch, ..bob.clone() };
    world.routed(bob.link, &relay, &msg::Done { task: task(1), code: 606 });
    assert_eq!(world.mail(), [("bob".to_owned(), News::Done(msg::Done { task: task(1), code: 606 }))]);
}

#[test]
fn regression_the_courier_hears_of_bytes_that_no_bulk_connection_has_fetched_in_time() {
    let mut world = World::with_courier();
    let mut bob = world.login("bob");
    world.mail();
    assert!(world.post_bulk("bob", &data(0, 5_000)));
    world.pass(WAKE_DEADLINE + Duration::from_secs(1));
    assert!(world.mail().is_empty() && !world.post_bulk("bob", &data(5_000, 5_000)));
    let bulk = world.bulk(&mut bob);
    assert!(world.got_routed::<msg::Data>(bulk).is_empty(), "what waited is lost");
    assert_eq!(world.mail(), [("bob".to_owned(), News::Here)]);
    assert!(world.post_bulk("bob", &data(0, 5_000)));
    assert_eq!(offsets(world.got_routed::<msg::Data>(bulk)), [0]);
}

#[test]
fn regression_what_is_sent_anew_comes_from_a_later_incarnation_and_both_hear_answers() {
    let mut world = World::with_courier();
    let bob = world.login("bob");
    world.mail();
    let again = msg::Offer { repeated: true, ..offer(1) };
    let first = world.core.courier_epoch();
    let second = world.core.renew_courier_epoch(world.now);
    for epoch in [first, second] {
        assert!(world.core.post_offer(PROJECT, "bob", ("7", epoch), &again, world.now));
        world.pump();
        let offered = world.got_routed::<msg::Offer>(bob.link).remove(0);
        assert_eq!(offered.epoch, epoch);
        let relay = Client { user: "7", epoch, ..bob.clone() };
        world.routed(bob.link, &relay, &msg::Done { task: task(1), code: 205 });
        assert_eq!(world.mail(), [("bob".to_owned(), News::Done(msg::Done { task: task(1), code: 205 }))]);
    }
    assert!(second > first, "a session gives a later incarnation another answer");
}

#[test]
fn what_is_written_beside_the_connections_task_stays_in_order_whatever_part_of_it_the_socket_takes() {
    for part in [0, 1, 70, 10_000] {
        let mut world = World::with_courier();
        let bob = world.login("bob");
        assert!(
            world.core.post(PROJECT, "bob", &rtm(1), world.now) && world.core.post(PROJECT, "bob", &rtm(2), world.now)
        );
        let mut out = world.core.take_out(bob.link).unwrap();
        assert!(world.core.take_out(bob.link).is_none());
        // The task is told to wait, and what comes meanwhile is behind.
        assert!(matches!(world.core.flush(bob.link, 0, world.now), Output::Wait));
        assert!(world.core.post(PROJECT, "bob", &rtm(3), world.now));
        let queued = world.core.queued_bytes();
        let mut bytes = Vec::new();
        let taken = part.min(out.len());
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let count = out.slices(&mut slices);
        slices[..count].iter().for_each(|slice| bytes.extend_from_slice(slice));
        bytes.truncate(taken);
        out.change().advance(taken);
        world.core.take_woken();
        world.core.put_back(bob.link, out, taken, world.now);
        assert_eq!(world.core.queued_bytes(), queued - taken);
        assert_eq!(world.core.take_woken(), [bob.link], "part {part}");
        world.inboxes.get_mut(&bob.link).unwrap().reader.as_mut().unwrap().feed(&bytes);
        world.pump();
        assert_eq!(world.got::<msg::Rtm>(bob.link), [rtm(1), rtm(2), rtm(3)], "part {part}");
    }
}

#[test]
fn nothing_is_taken_from_a_connection_whose_task_has_something_to_write() {
    let mut world = World::with_courier();
    let bob = world.login("bob");
    world.stick(bob.link, true);
    assert!(world.post("bob", &rtm(1)));
    assert!(world.core.post(PROJECT, "bob", &rtm(2), world.now));
    assert!(world.core.take_out(bob.link).is_none());
    assert_eq!(world.core.take_woken(), [bob.link], "its task has to look");
    world.stick(bob.link, false);
    world.pump();
    assert_eq!(world.got::<msg::Rtm>(bob.link), [rtm(1), rtm(2)]);
}

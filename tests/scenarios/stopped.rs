//! Rule 3 against a receiver whose process stands still: success means that the target has it, not that the relay does.

use std::process::{Child, Command};
use std::time::Duration;

use crvideo::client::{Event, ServerAddress, TlsMode};
use crvideo_proto::code;

use crate::world::{PATIENCE, World, content, eventually};

/// The child's part: it receives for ever. Without the environment of its parent this test has nothing to do.
#[test]
fn receives_for_ever_when_started_as_a_child() {
    let Ok(relay) = std::env::var("CRVIDEO_TEST_CHILD") else { return };
    let [port, project, secret, authority] = relay.split('|').collect::<Vec<_>>().try_into().unwrap();
    let user = crate::world::User::new(Default::default());
    let info = crvideo::client::LoginInfo {
        servers: vec![ServerAddress { host: "127.0.0.1".to_owned(), port: port.parse().unwrap() }],
        project: project.parse().unwrap(),
        user: "bob".to_owned(),
        credential: crvideo::client::Credential::Secret(secret.to_owned()),
        tls: crvideo::client::TlsSettings {
            mode: if authority.is_empty() { TlsMode::Auto } else { TlsMode::Always },
            ca_file: Some(authority.into()).filter(|_| !authority.is_empty()),
            ..Default::default()
        },
    };
    assert_eq!(user.login(info), code::NOERR);
    while let Ok(event) = user.events.recv() {
        if let Event::NotifyFileData { path, .. } = event {
            std::fs::remove_file(path).unwrap();
        }
    }
}

struct Bob(Child);

impl Bob {
    fn new(world: &World) -> Self {
        let authority = world.tls.ca_file.as_deref().and_then(std::path::Path::to_str).unwrap_or_default();
        let (port, project, secret) = (world.relay.address().port(), world.relay.project(), world.relay.secret());
        let relay = format!("{port}|{project}|{secret}|{authority}");
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stopped::receives_for_ever_when_started_as_a_child"])
            .env("CRVIDEO_TEST_CHILD", relay)
            .env("TMPDIR", world.dir.path())
            .spawn();
        Self(child.unwrap())
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap().success());
    }

    /// Stops the process. On a busy machine its threads may go on for a while after the signal was sent.
    fn stop(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.0.id());
        let stands_still = || {
            std::fs::read_dir(&tasks).unwrap().all(|task| {
                let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
            })
        };
        eventually("it stands still", stands_still);
    }
}

impl Drop for Bob {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_stopped_receiver_never_counts_as_having_received() {
    let world = World::new();
    let bob = Bob::new(&world);
    let alice = world.user("alice");
    eventually("bob is there", || alice.result(alice.send_cmd("bob", b"are you there?")) == code::NOERR);
    bob.stop();
    let sent = [
        alice.send_cmd("bob", b"x"),
        alice.send_buffer("bob", b""),
        alice.send_buffer("bob", &content(100_000)),
        alice.send_file("bob", &world.file("a.bin", 3_000_000)),
    ];
    let result = |patience| {
        alice.wait_for(patience, |event| match event {
            Event::SendCmdRlst { task, err, .. }
            | Event::SendBufferRlst { task, err, .. }
            | Event::SendFileRlst { task, err, .. } => Some((task, err)),
            _ => None,
        })
    };
    assert_eq!(result(Duration::from_secs(3)), None, "nothing is decided while Bob stands still");
    bob.signal("-CONT");
    let mut ended: Vec<_> = sent.iter().map(|_| result(PATIENCE).unwrap()).collect();
    assert!(ended.iter().all(|(_, err)| *err == code::NOERR), "{ended:?}");
    ended.sort();
    let mut sent = sent.to_vec();
    sent.sort();
    assert_eq!(ended.into_iter().map(|(task, _)| task).collect::<Vec<_>>(), sent);
}

//! What others need for the same file: the copying floor, nginx, scp.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::ground::{Ground, Noise, SOON, number};
use super::proc;
use crate::process::{Beside, Failure, Outcome, Scratch, cannot, output_of, run};
use crate::tools;

/// What it has cost to move so many bytes.
pub struct Cost {
    pub bytes: f64,
    pub seconds: f64,
    /// Processor time of all programs, in seconds.
    pub cpu: f64,
}

fn len(file: &Noise) -> Outcome<f64> {
    let metadata = std::fs::metadata(file.path()).map_err(cannot("read", file.path()))?;
    Ok(metadata.len() as f64)
}

/// Nobody has it now; somebody else may take it before it is used, and then the measurement fails.
fn free_port() -> Outcome<u16> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| Failure::new(format!("there is no free port: {error}")))
}

fn wait_for(port: u16) -> Outcome<()> {
    let deadline = Instant::now() + SOON;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            return Err(Failure::new("a server did not come up"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `bench/file_floor.c`.
pub fn floor(ground: &Ground, file: &Noise, memory: &Path) -> Outcome<Cost> {
    let copy = memory.join("floor.bin");
    let line = output_of(Command::new(ground.program("file_floor")).arg(file.path()).arg(&copy))?;
    std::fs::remove_file(&copy).map_err(cannot("delete", &copy))?;
    Ok(Cost { bytes: len(file)?, seconds: number(&line, "ns")? / 1e9, cpu: number(&line, "cpu_us")? / 1e6 })
}

/// Measures `transfer` with a server beside it, and the processor time of both.
fn with_server(
    name: &'static str,
    server: &mut Command,
    port: u16,
    bytes: f64,
    transfer: impl FnOnce() -> Outcome<()>,
) -> Outcome<Cost> {
    let before = proc::cpu_seconds_of_ended()?;
    let server = Beside::start(name, server.stderr(Stdio::null()))?;
    wait_for(port)?;
    let began = Instant::now();
    transfer()?;
    let seconds = began.elapsed().as_secs_f64();
    server.stop(SOON)?;
    Ok(Cost { bytes, seconds, cpu: proc::cpu_seconds_of_ended()? - before })
}

/// An upload to nginx, which stores it, and then a download; `None` where a program is missing.
pub fn nginx(file: &Noise, memory: &Path) -> Outcome<Option<Cost>> {
    if !["nginx", "curl"].into_iter().all(tools::is_present) {
        return Ok(None);
    }
    let scratch = Scratch::create(memory.join("nginx"))?;
    let (dir, port) = (scratch.path().display().to_string(), free_port()?);
    let config = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
         events {{}}
         http {{
             access_log off; sendfile on; tcp_nopush on; client_max_body_size 0; client_body_buffer_size 256k;
             client_body_temp_path {dir}/body; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
             uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
             server {{ listen 127.0.0.1:{port}; root {dir}/www; location / {{ dav_methods PUT; create_full_put_path on; }} }}
         }}\n"
    );
    let path = scratch.path().join("nginx.conf");
    std::fs::write(&path, config).map_err(cannot("write", &path))?;
    let mut server = Command::new("nginx");
    server.arg("-c").arg(&path).arg("-p").arg(&dir);
    let url = format!("http://127.0.0.1:{port}/file");
    let copy = scratch.path().join("copy");
    let curl = || {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "-H", "Expect:"]);
        curl
    };
    let cost = with_server("nginx", &mut server, port, len(file)?, || {
        run(curl().arg("-T").arg(file.path()).arg(&url))?;
        run(curl().arg("-o").arg(&copy).arg(&url))
    })?;
    Ok(Some(cost))
}

/// One hop with scp, which checks every packet but stores nothing in between; `None` where a program is missing.
pub fn scp(file: &Noise, memory: &Path) -> Outcome<Option<Cost>> {
    let sshd = Path::new("/usr/sbin/sshd");
    if !sshd.exists() || !["scp", "ssh-keygen"].into_iter().all(tools::is_present) {
        return Ok(None);
    }
    // It is what sshd separates its privileges in, and missing where no service has been started. Whoever may not make it
    // is not asked for it either.
    let _ = std::fs::create_dir_all("/run/sshd");
    let scratch = Scratch::create(memory.join("scp"))?;
    let (dir, port) = (scratch.path().display().to_string(), free_port()?);
    for key in ["host", "user"] {
        let mut keygen = Command::new("ssh-keygen");
        run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(scratch.path().join(key)))?;
    }
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/user.pub\nStrictModes no\n\
         PidFile none\nUsePAM no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    );
    let path = scratch.path().join("sshd_config");
    std::fs::write(&path, config).map_err(cannot("write", &path))?;
    let mut server = Command::new(sshd);
    server.args(["-D", "-e", "-f"]).arg(&path);
    let cost = with_server("sshd", &mut server, port, len(file)?, || {
        let mut scp = Command::new("scp");
        scp.args(["-q", "-c", "aes128-gcm@openssh.com", "-F", "none", "-o", "BatchMode=yes"]);
        scp.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        scp.arg("-P").arg(port.to_string()).arg("-i").arg(scratch.path().join("user")).arg(file.path());
        run(scp.arg(format!("127.0.0.1:{dir}/copy")))
    })?;
    Ok(Some(cost))
}

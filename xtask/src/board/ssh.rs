//! `cargo xtask board-ssh`: whether `cargo xtask bench --board NAME --ssh HOST` does what it says,
//! with a board that this machine plays.
//!
//! For each login ssh itself starts an sshd, with keys and a configuration of its own, and talks
//! to it through pipes (`sshd -i`): no port is open to anybody, and a server ends with its client.
//! A forced command answers as a board would, and has QEMU run the programs that are for it.

use super::{BUNDLED, RECORDS, SENTENCES};
use crate::cmd::{Captured, Cmd, on_path, quoted};
use crate::context::{Context, Ran};
use crate::targets::{AARCH64, EmulatedArm};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The board that is played, its CPU, and the kernel set that is best there.
const BOARD: (&str, &str, &str) = ("pi5", "cortex-a76", "aarch64/dotprod");
/// Tokens of prompt and answer, and the threads that four cores are measured with.
const TOKENS: [&str; 2] = ["8", "4"];
const THREADS: [u64; 3] = [1, 2, 4];
/// Sentences to answer: all of them are the matter of `cargo xtask boards`.
const N_SENTENCES: usize = 12;
/// What the forced command runs.
const SCRIPT: &str = include_str!("board.sh");

/// Measures a board over ssh, and tries what is to be refused.
///
/// # Errors
/// When something is measured, kept or refused that should not be, or the other way round.
pub(crate) fn check(cx: &Context) -> Result<Ran> {
    let what = "a board over ssh";
    let Some(arm) = EmulatedArm::find(cx, &AARCH64, what) else { return Ok(Ran::No) };
    let (Some(sshd), Some(sftp), true) = (sshd(), sftp_server(), has_client()) else {
        return Ok(cx.not_run(format!(
            "{what}: OpenSSH's server or client is missing; `cargo xtask setup board-ssh`"
        )));
    };
    let played = Played::new(cx, &sshd, &sftp, &arm.emulator(BOARD.1))?;
    played.refuse()?;
    played.measure(cx)?;
    Ok(Ran::Yes)
}

/// Whether everything of OpenSSH that the check needs is there.
pub(crate) fn has_openssh() -> bool {
    has_client() && sshd().is_some() && sftp_server().is_some()
}

fn has_client() -> bool {
    ["ssh", "scp", "ssh-keygen"].iter().all(|tool| on_path(tool))
}

/// The server, by a full path: it starts itself once more.
fn sshd() -> Option<PathBuf> {
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(PathBuf::from);
    usual.into_iter().map(|dir| dir.join("sshd")).find(|path| path.is_file())
}

/// What scp talks to. It is where each distribution likes.
fn sftp_server() -> Option<PathBuf> {
    let usual = ["/usr/lib/openssh", "/usr/lib/ssh", "/usr/libexec/openssh", "/usr/libexec"];
    usual.map(|dir| Path::new(dir).join("sftp-server")).into_iter().find(|path| path.is_file())
}

/// A board that this machine plays, and others that are to be refused.
struct Played {
    program: PathBuf,
    dir: PathBuf,
    /// Removed at the end, if it was made for this.
    _for_sshd: Option<Made>,
}

/// A folder that is gone when its owner is.
struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        // It stays if somebody uses it meanwhile.
        let _ = fs::remove_dir(&self.0);
    }
}

impl Played {
    /// Writes keys and configurations.
    fn new(cx: &Context, sshd: &Path, sftp: &Path, emulator: &[String]) -> Result<Self> {
        let dir = cx.target_dir().join("board-ssh");
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(dir.join("home"))?;
        let shown = dir.to_str().context("the target folder's name is no text")?;
        ensure!(
            !shown.contains(['"', '%', '\n']),
            "{shown:?} cannot be written in a configuration of ssh; set CARGO_TARGET_DIR"
        );
        for key in ["host", "user", "stranger"] {
            let cmd = Cmd::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]);
            let made = cmd.arg(dir.join(key)).capture()?;
            ensure!(made.ok, "ssh-keygen: {}", made.stderr.trim());
        }
        let key = fs::read_to_string(dir.join("host.pub"))?;
        fs::write(dir.join("known"), format!("played {key}"))?;
        fs::write(dir.join("board.sh"), SCRIPT)?;
        for machine in ["aarch64", "x86_64"] {
            let path = std::env::var("PATH").unwrap_or_default();
            let script = dir.join("board.sh").to_string_lossy().into_owned();
            let home = dir.join("home").to_string_lossy().into_owned();
            let words = [format!("PATH={path}"), "sh".into(), script, machine.into(), home];
            let forced: Vec<_> = words.iter().chain(emulator).map(quoted).collect();
            // One who is not root can log in as nobody else, and has no use for PAM.
            let config = format!(
                "HostKey \"{shown}/host\"\n\
                 AuthorizedKeysFile \"{shown}/user.pub\"\n\
                 AuthenticationMethods publickey\n\
                 PermitRootLogin yes\n\
                 StrictModes no\n\
                 UsePAM no\n\
                 PidFile none\n\
                 Subsystem sftp {}\n\
                 ForceCommand env {}\n",
                sftp.display(),
                forced.join(" ")
            );
            fs::write(dir.join(machine), config)?;
        }
        fs::write(dir.join("config"), client(shown, sshd))?;
        let for_sshd = accepted(sshd, &dir.join("aarch64"))?;
        Ok(Played { program: std::env::current_exe()?, dir, _for_sshd: for_sshd })
    }

    /// `cargo xtask bench`, by itself as somebody would type it.
    fn bench(&self, args: &[&str]) -> Cmd {
        Cmd::new(&self.program).arg("bench").args(args)
    }

    /// Tries what cannot be done: each is to end with status 1 and one line.
    fn refuse(&self) -> Result<()> {
        let config = self.dir.join("config");
        let config = config.to_str().context("it was text")?;
        let on = |board, host| ["--board", board, "--ssh", host, "--ssh-config", config];
        let nowhere = self.dir.join("home");
        let cases = [
            (
                "no such board",
                self.bench(&on("pi50", "board")),
                "no board is called \"pi50\"; there are",
            ),
            ("firmware", self.bench(&on("rp2350", "board")), "has no system to log in to"),
            ("a host that is off", self.bench(&on(BOARD.0, "off")), "Connection refused"),
            ("a strange key", self.bench(&on(BOARD.0, "strange")), "Permission denied (publickey)"),
            (
                "another architecture",
                self.bench(&on(BOARD.0, "other")),
                "other is x86_64, and this is built for aarch64-unknown-linux-gnu; is it the board?",
            ),
            ("no host", self.bench(&on(BOARD.0, "two words")), "no host: \"two words\""),
            (
                "no ssh",
                self.bench(&on(BOARD.0, "board")).env("PATH", nowhere),
                "ssh is missing; install OpenSSH's client",
            ),
        ];
        for (what, cmd, why) in cases {
            let Captured { code, stdout, stderr, .. } = cmd.capture()?;
            let is_one_line =
                stderr.starts_with("error: ") && stderr.trim_end().lines().count() == 1;
            ensure!(
                code == Some(1) && stdout.is_empty() && is_one_line && stderr.contains(why),
                "{what}: not refused with {why:?}, but with status {code:?}:\n{stdout}{stderr}"
            );
            println!("refused: {what}: {}", stderr.trim().trim_start_matches("error: "));
        }
        Ok(())
    }

    /// Measures the board, and looks at all that is said of it.
    fn measure(&self, cx: &Context) -> Result<()> {
        let [prompt, generate] = TOKENS;
        let (config, records) = (self.dir.join("config"), self.dir.join("record"));
        let own = cx.root().join(RECORDS).join(format!("{}.measured.json", BOARD.0));
        let before = fs::read(&own).ok();
        let all = fs::read_to_string(cx.root().join(SENTENCES))?;
        let sentences = self.dir.join("sentences.jsonl");
        let some: Vec<_> = all.lines().take(N_SENTENCES).collect();
        fs::write(&sentences, some.join("\n") + "\n")?;
        let cmd = self
            .bench(&["--board", BOARD.0, "--ssh", "board", "-p", prompt, "-n", generate, "--json"])
            .args([OsStr::new("--ssh-config"), config.as_os_str()])
            .args([OsStr::new("--sentences"), sentences.as_os_str()])
            .args([OsStr::new("--records"), records.as_os_str()]);
        eprintln!("$ {}", cmd.line());
        let out = cmd.capture()?;
        if !out.ok {
            let log = fs::read_to_string(self.dir.join("sshd.log")).unwrap_or_default();
            bail!("{}\nsshd: {}", out.stderr.trim(), log.trim());
        }
        let kept = records.join(format!("{}.measured.json", BOARD.0));
        let kept = fs::read_to_string(&kept).with_context(|| format!("no {}", kept.display()))?;
        ensure!(out.stdout == kept, "what is kept is not what is printed:\n{}", out.stdout);
        ensure!(before == fs::read(&own).ok(), "{} was written to", own.display());
        verify(&serde_json::from_str(&kept)?)
            .with_context(|| format!("the report of the played board: {kept}"))?;
        println!("measured: {}, {N_SENTENCES} sentences, threads {THREADS:?}", BOARD.2);
        Ok(())
    }
}

/// How to reach the board, and what is none.
fn client(dir: &str, sshd: &Path) -> String {
    let server = |machine: &str| {
        let [sshd, log, config] = [
            sshd.to_string_lossy().into_owned(),
            format!("{dir}/sshd.log"),
            format!("{dir}/{machine}"),
        ];
        format!("ProxyCommand {} -i -E {} -f {}", quoted(sshd), quoted(log), quoted(config))
    };
    let host = |name: &str, how: &str, key: &str| {
        format!(
            "Host {name}\n  {how}\n  IdentityFile \"{dir}/{key}\"\n  IdentitiesOnly yes\n  \
             IdentityAgent none\n  HostKeyAlias played\n  UserKnownHostsFile \"{dir}/known\"\n  \
             StrictHostKeyChecking yes\n"
        )
    };
    [
        host("board", &server("aarch64"), "user"),
        host("other", &server("x86_64"), "user"),
        host("strange", &server("aarch64"), "stranger"),
        // Nobody listens on the port for multiplexing TCP services.
        host("off", "HostName 127.0.0.1\n  Port 1", "user"),
    ]
    .concat()
}

/// Asks the server what it thinks of its configuration. For root it wants a folder too, which the
/// start of the service would make.
fn accepted(sshd: &Path, config: &Path) -> Result<Option<Made>> {
    let test = || Cmd::new(sshd).arg("-t").arg("-f").arg(config).capture();
    let mut said = test()?;
    let mut made = None;
    if let Some((_, missing)) = said.stderr.split_once("Missing privilege separation directory: ") {
        let missing = PathBuf::from(missing.trim());
        eprintln!("making {}, which sshd wants, for a while", missing.display());
        fs::create_dir(&missing).with_context(|| format!("cannot make {}", missing.display()))?;
        made = Some(Made(missing));
        said = test()?;
    }
    ensure!(said.ok, "sshd: {}", said.stderr.trim());
    Ok(made)
}

/// Looks for everything that a report of a measured board has.
fn verify(report: &Value) -> Result<()> {
    ensure!(report["board"] == BOARD.0 && report["how"] == "measured", "of another board");
    let accuracy = &report["accuracy"];
    ensure!(accuracy["cases"] == N_SENTENCES, "not every sentence was answered");
    ensure!(accuracy["right"].as_u64().is_some_and(|right| right > 0), "no answer is right");
    for when in ["before", "after"] {
        ensure!(report[when]["system"].is_object(), "no state {when}");
    }
    let Some([model]) = report["models"].as_array().map(Vec::as_slice) else {
        bail!("not one model");
    };
    let name = Path::new(BUNDLED).file_name().unwrap_or_default().to_string_lossy();
    ensure!(model["model"] == *name, "another model");
    let identity = &model["identity"];
    let sums = identity["checksums"].as_array().map_or(0, Vec::len);
    ensure!(identity["there"] == BOARD.2 && sums == 2, "not its kernels, or not its logits");
    let mut rows = BTreeSet::new();
    for row in model["measured"].as_array().into_iter().flatten() {
        ensure!(row["tokens_per_second"].as_f64().is_some_and(|speed| speed > 0.0), "no speed");
        ensure!(
            identity["checksums"].as_array().is_some_and(|sums| sums.contains(&row["checksum"])),
            "a row with other logits"
        );
        rows.insert((
            row["test"].as_str().unwrap_or_default(),
            row["threads"].as_u64().unwrap_or_default(),
        ));
    }
    let tests = [format!("pp{}", TOKENS[0]), format!("tg{}", TOKENS[1])];
    let wanted: BTreeSet<_> =
        tests.iter().flat_map(|test| THREADS.map(|threads| (test.as_str(), threads))).collect();
    ensure!(rows == wanted, "rows {rows:?}, not {wanted:?}");
    Ok(())
}

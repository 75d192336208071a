//! mosquitto's own clients (Debian package `mosquitto-clients`), as strangers to this project.

use std::process::Command;

use crate::authority::Identity;
use crate::bin;

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Published {
    /// The broker took it.
    Taken,
    /// The client was let in, and the message refused, with this reason.
    Refused(String),
    /// The client was not let in.
    NotLetIn,
}

/// One of them, with what it needs to come in.
pub fn client(program: &str, port: u16, identity: &Identity) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "localhost", "-V", "mqttv5", "-q", "1", "-p", &port.to_string()]);
    command
        .arg("--cafile")
        .arg(&identity.ca)
        .arg("--cert")
        .arg(&identity.cert)
        .arg("--key")
        .arg(&identity.key);
    command
}

/// Sends a message at QoS 1.
///
/// # Errors
/// When `mosquitto_pub` is missing.
pub fn publish(port: u16, identity: &Identity, topic: &str, payload: &str) -> anyhow::Result<Published> {
    let mut command = client("mosquitto_pub", port, identity);
    let output = bin::output(command.args(["-t", topic, "-m", payload]))?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(match said.split_once("failed: ") {
        Some((_, reason)) => Published::Refused(reason.trim().trim_end_matches('.').to_owned()),
        None if output.status.success() => Published::Taken,
        None => Published::NotLetIn,
    })
}

/// What comes to a subscriber within some seconds: `topic payload` each; `None` when it is not let in.
///
/// # Errors
/// When `mosquitto_sub` is missing.
pub fn subscribe(
    port: u16,
    identity: &Identity,
    topic: &str,
    seconds: u32,
) -> anyhow::Result<Option<Vec<String>>> {
    /// What `mosquitto_sub -W` ends with when the time is over.
    const TIME_OVER: i32 = 27;
    let mut command = client("mosquitto_sub", port, identity);
    let output = bin::output(command.args(["-v", "-t", topic, "-W", &seconds.to_string()]))?;
    let lines = || String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    Ok((output.status.code() == Some(TIME_OVER)).then(lines))
}

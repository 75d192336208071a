//! Commands from the centre to one station, and how they are answered.
//!
//! ```text
//! ulna/v1/{station}/cmd/{name}/{id}        a [`SignedCommand`], from the centre
//! ulna/v1/{station}/cmd/{name}/{id}/ack    a [`CommandAck`], from the station, not retained
//! ```
//!
//! The body travels as a string, so that the bytes that were signed are the bytes that are verified. It names the
//! station, the command's id and its expiry, so a signature holds for one station, once, and for a time. A body with
//! a field that the station does not know is refused, never half understood.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::result::{ModelSummary, Topics};
use crate::study::StudyType;

/// Longest id and longest name of a command, in characters.
const WORD_MAX_CHARS: usize = 64;

/// The payload of a command's topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedCommand {
    /// A [`CommandBody`] as JSON, exactly as it was signed.
    pub body: String,
    /// The content of the `.minisig` file that minisign makes of the body, prehashed as is its default. Absent or null
    /// only for commands that the station's configuration takes unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandBody {
    /// The one station it is for; the topic names it too.
    pub station: String,
    /// 1 to 64 letters, digits, hyphens and underscores; the topic names it too. A station executes an id once.
    pub id: String,
    /// Until when it may be executed, RFC 3339; at most 30 days ahead.
    pub expires_at: Timestamp,
    /// What to do; the topic has its name too.
    pub command: Command,
}

/// What a station can be told to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Answer.
    Ping {},
    /// Send acknowledged results again, under the same `(outbox_id, seq)`.
    Resend {
        /// The sequence that the numbers are of.
        outbox_id: String,
        /// The first `seq`.
        from_seq: u64,
        /// The last `seq`; at most 9,999 above the first.
        to_seq: u64,
    },
    /// Say how the station is: versions, what `edge doctor` finds, figures of the store.
    Diagnostics {},
    /// Answer by other operating points from now on.
    SetOperatingPoints(OperatingPointSettings),
    /// Fetch a bundle into the slot that is not in use, test it on this machine and use it. Answered `running`, then once
    /// the station serves with it or has returned to the bundle before.
    ModelInstall {
        /// The folder of the bundle, `https://…`: its files are fetched below it.
        url: String,
        /// SHA-256 of its `manifest.json`.
        bundle_sha256: String,
    },
    /// Use the bundle in the other slot, which was in use before. Answered as [`Command::ModelInstall`].
    ModelRollback {
        /// SHA-256 of that bundle's `manifest.json`.
        bundle_sha256: String,
    },
}

impl Command {
    /// Its name.
    pub fn name(&self) -> CommandName {
        match self {
            Self::Ping {} => CommandName::Ping,
            Self::Resend { .. } => CommandName::Resend,
            Self::Diagnostics {} => CommandName::Diagnostics,
            Self::SetOperatingPoints(_) => CommandName::SetOperatingPoints,
            Self::ModelInstall { .. } => CommandName::ModelInstall,
            Self::ModelRollback { .. } => CommandName::ModelRollback,
        }
    }
}

/// The names of the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandName {
    /// [`Command::Ping`]
    Ping,
    /// [`Command::Resend`]
    Resend,
    /// [`Command::Diagnostics`]
    Diagnostics,
    /// [`Command::SetOperatingPoints`]
    SetOperatingPoints,
    /// [`Command::ModelInstall`]
    ModelInstall,
    /// [`Command::ModelRollback`]
    ModelRollback,
}

impl CommandName {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ping,
        Self::Resend,
        Self::Diagnostics,
        Self::SetOperatingPoints,
        Self::ModelInstall,
        Self::ModelRollback,
    ];

    /// As topics and bodies spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Resend => "resend",
            Self::Diagnostics => "diagnostics",
            Self::SetOperatingPoints => "set_operating_points",
            Self::ModelInstall => "model_install",
            Self::ModelRollback => "model_rollback",
        }
    }

    /// Whether the station answers or stores anything differently afterwards. Such a command is always signed.
    pub fn changes_behaviour(self) -> bool {
        matches!(self, Self::SetOperatingPoints | Self::ModelInstall | Self::ModelRollback)
    }
}

/// All thresholds that shall differ from the bundle's. What was set before is replaced; an empty one (no `pooled`, no
/// `per_type`) returns to the bundle's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatingPointSettings {
    /// The bundle they were found for: probabilities of another one mean something else.
    pub bundle_sha256: String,
    /// In place of the pooled points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooled: Option<Thresholds>,
    /// In place of a study type's points, or of the pooled ones for this type where it has none.
    #[serde(default)]
    pub per_type: BTreeMap<StudyType, Thresholds>,
}

impl OperatingPointSettings {
    /// Whether they say nothing but to return to the bundle's own.
    pub fn is_empty(&self) -> bool {
        self.pooled.is_none() && self.per_type.is_empty()
    }
}

/// Two thresholds on a study's probability, each from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Below it: `normal`.
    pub rule_out: f64,
    /// From it on: `abnormal`. Never below `rule_out`.
    pub rule_in: f64,
}

/// Operating points that a command has set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetPoints {
    /// The command's id.
    pub by: String,
    /// What it set.
    pub settings: OperatingPointSettings,
}

/// Why a body is none.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Not JSON, or not the JSON of a body.
    #[error("it is not the JSON of a command: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A command of another version, or of none.
    #[error("there is no command `{0}` in this version")]
    Unknown(String),
}

impl CommandBody {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is not JSON, names no known command, or has fields that are missing, unknown or of another type.
    pub fn parse(json: &str) -> Result<Self, BodyError> {
        // The name first: an unknown command may have any fields.
        let value: serde_json::Value = serde_json::from_str(json)?;
        if let Some(name) = value.pointer("/command/name").and_then(serde_json::Value::as_str)
            && !CommandName::ALL.iter().any(|known| known.as_str() == name)
        {
            return Err(BodyError::Unknown(name.chars().take(WORD_MAX_CHARS).collect()));
        }
        // From the text again: a field given twice is an error there.
        Ok(serde_json::from_str(json)?)
    }
}

/// Which command a topic is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAddress {
    /// The command's name as the topic has it.
    pub name: String,
    /// The command's id as the topic has it.
    pub id: String,
}

impl CommandAddress {
    /// Reads what follows `…/cmd/`; `None` when it is not a name and an id of plain characters, so that nothing can be
    /// answered there.
    pub fn parse(below: &str) -> Option<Self> {
        let (name, id) = below.split_once('/')?;
        (is_word(name) && is_word(id)).then(|| Self { name: name.to_owned(), id: id.to_owned() })
    }
}

fn is_word(text: &str) -> bool {
    (1..=WORD_MAX_CHARS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl Topics {
    /// Where every [`SignedCommand`] comes below, with a `/` at its end.
    pub fn commands(&self) -> String {
        format!("{}/cmd/", self.base)
    }

    /// A [`CommandAck`], not retained.
    pub fn command_ack(&self, address: &CommandAddress) -> String {
        format!("{}{}/{}/ack", self.commands(), address.name, address.id)
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandAck {
    /// The station's name.
    pub station: String,
    /// The id in the command's topic.
    pub id: String,
    /// The name in the command's topic.
    pub command: String,
    /// What came of it. `waiting` and `running` are followed by another acknowledgement, every other one is the last word.
    pub outcome: CommandOutcome,
    /// Why; null when `outcome` is `done`.
    pub reason: Option<CommandReason>,
    /// The same in words, and what to do about it.
    pub detail: Option<String>,
    /// When it was said, UTC.
    pub at: Timestamp,
    /// Whether the station's clock was synchronised then; null when not known.
    pub clock_synchronised: Option<bool>,
    /// The id of the key that signed it, as minisign shows it; null when it was not signed, or not by a trusted key.
    pub signed_by: Option<String>,
    /// Of a `duplicate`: what came of it the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<FirstAck>,
    /// Of `resend`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent: Option<Resent>,
    /// Of `diagnostics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<Diagnostics>,
}

impl CommandAck {
    /// The same with a reason, in a word and in a sentence.
    pub fn because(self, reason: CommandReason, detail: impl Into<String>) -> Self {
        Self { reason: Some(reason), detail: Some(detail.into()), ..self }
    }
}

/// What came of a command, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    /// It was executed.
    Done,
    /// It will be looked at again when the clock is synchronised.
    Waiting,
    /// It is being executed, which may take long.
    Running,
    /// It is not executed, and will not be.
    Refused,
    /// It came too late, or waited too long.
    Expired,
    /// Its id was executed or is waiting already; nothing was done again.
    Duplicate,
    /// The station could not do it.
    Failed,
}

/// Why a command was not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandReason {
    /// Larger than a command can be.
    TooLarge,
    /// Not the JSON of a command.
    Malformed,
    /// It names another station than the topic.
    WrongStation,
    /// It names another id or command than the topic.
    TopicMismatch,
    /// No such command in this version.
    UnknownCommand,
    /// The station's configuration does not allow it.
    NotAllowed,
    /// It must be signed.
    Unsigned,
    /// Signed by a key that the station does not trust.
    UnknownKey,
    /// The signature is none, or not of these bytes.
    BadSignature,
    /// `expires_at` is past.
    Expired,
    /// `expires_at` is further ahead than commands are remembered.
    ExpiryTooFar,
    /// The clock is not synchronised, so nobody knows whether it has expired.
    ClockNotSynchronised,
    /// The id was seen before.
    AlreadySeen,
    /// A value is outside of what the bundle and the configuration allow.
    OutsideLimits,
    /// It is about another bundle than the one in use.
    OtherBundle,
    /// It is about another outbox than the station's.
    OtherOutbox,
    /// The bundle could not be fetched.
    DownloadFailed,
    /// The bundle may not be used here: its signature, version, purpose or files are not as they must be.
    BundleRefused,
    /// The bundle does not compute here what was recorded at its export, or takes too long.
    SelfTestFailed,
    /// The station did not become ready with the bundle and has returned to the one before.
    ModelReturned,
    /// A later command for another bundle took its place.
    Superseded,
    /// Too many commands are remembered or waiting.
    Busy,
    /// The store failed.
    StoreFailing,
}

/// What was said of a command when its id came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirstAck {
    /// What came of it.
    pub outcome: CommandOutcome,
    /// When that was said, UTC.
    pub at: Timestamp,
}

/// What came of a [`Command::Resend`]: the numbers of the range, up to the newest there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resent {
    /// Put into the outbox again.
    pub requeued: u64,
    /// Still in the outbox, not acknowledged yet.
    pub waiting: u64,
    /// Not kept any more; each is answered by a tombstone.
    pub missing: u64,
}

/// How a station is, without anything of a patient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostics {
    /// Version of `edge`.
    pub edge_version: String,
    /// The machine.
    pub machine: MachineFacts,
    /// Seconds since the service started.
    pub uptime_s: u64,
    /// The model.
    pub model: ModelSummary,
    /// What `edge doctor` finds, but for the model, which the running service has tested.
    pub checks: Vec<CheckResult>,
    /// The store, counted; null when it cannot be read.
    pub store: Option<StoreFigures>,
    /// Commands refused since the service started.
    pub commands_refused: u64,
    /// Messages below `cmd/` since the service started that could not be answered, because they have no name and id.
    pub commands_unanswerable: u64,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineFacts {
    /// The distribution.
    pub os: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's kind, such as `aarch64`.
    pub machine: String,
    /// Processor cores.
    pub cores: u64,
}

/// One check of `edge doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// Its name, such as `broker.tls`.
    pub name: String,
    /// `ok`, `warn` or `fail`.
    pub verdict: String,
    /// What was found.
    pub found: String,
    /// What to do about it; null where all is well.
    pub remedy: Option<String>,
}

/// The store, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreFigures {
    /// The database's format.
    pub format: u64,
    /// The database, in bytes.
    pub database_bytes: u64,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Results not yet acknowledged.
    pub outbox_depth: u64,
    /// Results the broker refused for good.
    pub outbox_dead: u64,
    /// Accepted images that are kept.
    pub images: FolderFigures,
    /// Rejected images that are kept.
    pub rejected: FolderFigures,
}

/// A folder, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FolderFigures {
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

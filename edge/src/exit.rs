//! Exit codes. Scripts and the systemd unit rely on them; the numbers from 64 on are those of `sysexits.h`.

use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Ok = 0,
    /// A fault of the program itself.
    Internal = 1,
    /// The command line is not understood (clap exits with this one itself).
    Usage = 2,
    /// `infer`: some studies could not be scored; all the others were.
    Unscored = 3,
    /// `doctor`: something needs attention, and the station works.
    Warnings = 4,
    /// `doctor`: something does not work.
    Failures = 5,
    /// Refused as things are, and said why: by the service, or by `edge model`.
    Refused = 6,
    /// `EX_DATAERR`: the bundle is damaged, of another format, a demo where none is allowed, or fails its
    /// self-test.
    Bundle = 65,
    /// `EX_NOINPUT`: an input that was named does not exist.
    Input = 66,
    /// `EX_UNAVAILABLE`: something needed does not answer: the address of the page, the service, a broker.
    Unavailable = 69,
    /// `EX_IOERR`: the state directory cannot be used.
    Io = 74,
    /// `EX_CONFIG`: the configuration is wrong; starting again will not help (`RestartPreventExitStatus=78`).
    Config = 78,
}

impl Exit {
    /// The number the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

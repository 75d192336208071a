//! `edge run` as a process: signals, the bundle to start with, and starting anew with another one.
//!
//! ```text
//! slots ──begin──▶ App::start ──ready──▶ confirm ──▶ serves ──signal──▶ drains, ends
//!                      │ the bundle on trial fails                └──another bundle──▶ drains, executes itself again
//!                      └──▶ give back, begin again
//! ```

use std::env;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::app::{App, LOAD_MAX, StartError};
use crate::config::Config;
use crate::exit::Exit;
use crate::slots::{Begun, Slots};
use crate::wake::Restart;
use crate::{health, restarts};

/// How long a stop may take: what is being done is finished, and the broker told.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Runs the service until SIGTERM or SIGINT. `path` is where its configuration came from.
pub fn run(config: &Config, path: &Path) -> Exit {
    // Reads FAILPOINTS from the environment, for tests that kill the service at a named point.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let mut signals = match Signals::new([SIGTERM, SIGINT]) {
        Ok(signals) => signals,
        Err(error) => {
            log::error!("signals cannot be received: {error}");
            return Exit::Internal;
        }
    };
    let handle = signals.handle();
    let path = path.to_owned();
    let restart = Restart::new(move || {
        // The service that starts anew reads it again, and could not say so to anybody.
        Config::load(&path).map_err(|error| error.to_string())?;
        handle.close();
        Ok(())
    });
    let app = match start(config, &restart) {
        Ok(app) => app,
        Err(error) => {
            log::error!("{error}");
            health::say(&error.to_string());
            restarts::failed(&error.to_string());
            return error.exit();
        }
    };
    health::notify(&[NotifyState::Ready]);
    watch_for(sd_notify::watchdog_enabled());
    log::info!("ready; the technician's page is http://{}", app.page_address());
    if let Some(address) = app.lan_address() {
        log::info!("in the network it is at {address}, for whoever has scanned the code of `edge web link`");
    }
    // Blocks until a signal comes, or a restart is asked for.
    let signal = signals.forever().next();
    if signal.is_some() {
        health::notify(&[NotifyState::Stopping]);
        log::info!("stopping");
    } else {
        health::say("changing the model");
        log::info!("starting anew with another bundle");
    }
    if !app.stop(DRAIN_MAX) {
        log::warn!("not all stages ended within {} s; nothing accepted is lost", DRAIN_MAX.as_secs());
    }
    restarts::forget();
    // A signal may have come while it drained to start anew.
    if signal.is_some() || signals.pending().next().is_some() {
        health::notify(&[NotifyState::Stopping]);
        return Exit::Ok;
    }
    execute_again()
}

/// Starts with the bundle that the configuration names, or with the slot in use. A bundle on trial that fails gives way
/// to the one before.
fn start(config: &Config, restart: &Restart) -> Result<App, StartError> {
    let Some(slots) = Slots::of(config) else {
        return App::start(config, (&Slots::bundle_dir(config)?, None), restart);
    };
    loop {
        let begun = slots.begin()?;
        let Begun { slot, bundle, on_trial } = &begun;
        if *on_trial {
            log::info!("on trial: {bundle}, in slot {slot}");
        }
        match App::start(config, (&slots.slot_dir(*slot), Some(&bundle.bundle_sha256)), restart) {
            Ok(app) => {
                if *on_trial && let Err(error) = slots.confirm(&begun) {
                    log::error!("the trial of {bundle} cannot be ended: {error}");
                }
                return Ok(app);
            }
            Err(error) if *on_trial && error.is_of_the_bundle() => {
                log::error!("{bundle} cannot be used: {error}; returning to the one before");
                slots.give_back(&begun, error.to_string())?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The same program with the same arguments in the same process: everything that was open is closed by it, and systemd
/// sees one service.
fn execute_again() -> Exit {
    // Loading the model may take longer than the watchdog is patient.
    watch_for(sd_notify::watchdog_enabled().map(|_| LOAD_MAX));
    let error = Command::new("/proc/self/exe").args(env::args_os().skip(1)).exec();
    log::error!("the service cannot start anew: {error}");
    Exit::Internal
}

/// Sets the watchdog's patience and begins it anew; without a watchdog nothing happens.
fn watch_for(patience: Option<Duration>) {
    let Some(patience) = patience else { return };
    health::notify(&[NotifyState::WatchdogUsec(health::micros(patience)), NotifyState::Watchdog]);
}

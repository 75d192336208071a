//! Whatever is sent below `cmd/`, it has one visible outcome, and results keep flowing.

use std::fs;

use contract::command::{CommandOutcome, CommandReason};
use e2e::broker::Broker;
use e2e::minisign::Signer;
use e2e::station::NAME;
use serde_json::{Value, json};

use crate::LONG;
use crate::centre::{Centre, DONE, body, ping, signed, tail};

#[test]
fn every_bad_message_has_one_answer_and_results_flow() -> anyhow::Result<()> {
    let centre = Centre::new()?;
    let mut station = centre.station(&["ping", "set_operating_points"])?;
    station.start()?;
    centre.wait_until_subscribed(&station)?;
    centre.result_of(&station, 1)?;

    let stranger = Signer::new()?;
    let good = |id: &str| body(NAME, id, 60, &ping());
    let by_us = |body: &str| signed(&centre.signer, body);
    let forged = {
        let message: Value = serde_json::from_str(&by_us(&body(NAME, "someone-elses", 60, &ping()))?)?;
        json!({ "body": good("forged"), "signature": message["signature"] }).to_string()
    };
    let resend = json!({ "name": "resend", "outbox_id": centre.outbox_id()?, "from_seq": 1, "to_seq": 1 });
    let points = json!({ "name": "set_operating_points", "bundle_sha256": "00" });
    let reboot = json!({ "name": "reboot" });
    let misspelt = json!({ "name": "set_operating_points", "bundle_sha256": "00", "poled": null });
    let cut = &by_us(&good("cut"))?[..200];
    let mut cases: Vec<(&str, String, Vec<u8>, CommandReason)> = Vec::new();
    let mut case = |id, command: &Value, message: Vec<u8>, reason| {
        cases.push((id, tail(id, command), message, reason));
    };
    case("none", &ping(), b"please".to_vec(), CommandReason::Malformed);
    case("bytes", &ping(), vec![0xff, 0xfe, 0x00], CommandReason::Malformed);
    case("cut", &ping(), cut.into(), CommandReason::Malformed);
    case("large", &ping(), vec![b'x'; 1_000_000], CommandReason::TooLarge);
    case(
        "unsigned",
        &ping(),
        json!({ "body": good("unsigned") }).to_string().into(),
        CommandReason::Unsigned,
    );
    case("stranger", &ping(), signed(&stranger, &good("stranger"))?.into(), CommandReason::UnknownKey);
    case("forged", &ping(), forged.into(), CommandReason::BadSignature);
    let elsewhere = body("clinic-13", "elsewhere", 60, &ping());
    case("elsewhere", &ping(), by_us(&elsewhere)?.into(), CommandReason::WrongStation);
    case("moved", &ping(), by_us(&good("other-id"))?.into(), CommandReason::TopicMismatch);
    case("late", &ping(), by_us(&body(NAME, "late", -1, &ping()))?.into(), CommandReason::Expired);
    let next_year = by_us(&body(NAME, "early", 60 * 24 * 365, &ping()))?;
    case("early", &ping(), next_year.into(), CommandReason::ExpiryTooFar);
    case(
        "unknown",
        &reboot,
        by_us(&body(NAME, "unknown", 60, &reboot))?.into(),
        CommandReason::UnknownCommand,
    );
    case("not-ours", &resend, by_us(&body(NAME, "not-ours", 60, &resend))?.into(), CommandReason::NotAllowed);
    case(
        "misspelt",
        &misspelt,
        by_us(&body(NAME, "misspelt", 60, &misspelt))?.into(),
        CommandReason::Malformed,
    );
    case("model", &points, by_us(&body(NAME, "model", 60, &points))?.into(), CommandReason::OtherBundle);

    for (_, tail, message, _) in &cases {
        centre.publish(tail, message, false)?;
    }
    // These cannot be answered: no id, a name of no plain characters, too large even to be looked at.
    centre.publish("ping", b"{}", false)?;
    centre.publish("ping/ä", b"{}", false)?;
    centre.publish("ping/a/b/c", b"{}", false)?;
    centre.publish("ping/huge", &vec![b'x'; 3_000_000], false)?;
    // And these are none of the station's business.
    centre.publish("ping/forged-answer/ack", b"{}", false)?;
    centre.publish("doctor/0123456789abcdef", b"0123456789abcdef", false)?;

    for (id, _, _, reason) in &cases {
        let ack = centre.ack(id, 1, &station)?;
        let outcome = match reason {
            CommandReason::Expired => CommandOutcome::Expired,
            _ => CommandOutcome::Refused,
        };
        assert_eq!((ack.outcome, ack.reason), (outcome, Some(*reason)), "{id}: {ack:?}");
        assert!(ack.detail.is_some_and(|detail| detail.len() > 10), "{id}");
    }
    station.wait_for_line("messages below", LONG)?;
    assert_eq!(centre.ask("good", &ping(), &station)?, DONE);
    centre.result_of(&station, 2)?;

    for (id, ..) in &cases {
        assert_eq!(centre.acks(id)?.len(), 1, "{id}");
    }
    assert!(centre.acks("huge")?.is_empty());
    let log = station.log();
    let count = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("connected to the broker"), 1, "the connection was never given up");
    // One line a minute, whatever comes.
    assert!(count(" refused as ") <= 2 && count("messages below") <= 2, "{}", log.join("\n"));
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn a_station_without_commands_says_so() -> anyhow::Result<()> {
    let centre = Centre::new()?;
    let setup = e2e::station::Setup::new(centre.broker.port());
    let mut station = e2e::station::Station::new(&setup)?;
    station.start()?;
    centre.wait_until_subscribed(&station)?;
    let came = centre.ask("a", &ping(), &station)?;
    assert_eq!(came, (CommandOutcome::Refused, Some(CommandReason::UnknownKey)));
    let body = json!({ "body": body(NAME, "b", 60, &ping()) }).to_string();
    centre.publish("ping/b", body.as_bytes(), false)?;
    assert_eq!(centre.ack("b", 1, &station)?.reason, Some(CommandReason::NotAllowed));
    assert!(station.stop()?.success());
    Ok(())
}

/// The broker lets the station publish one answer not and the others so; another lets it read no command.
#[test]
fn answers_and_commands_that_the_broker_forbids_hold_up_nothing() -> anyhow::Result<()> {
    let acl = |deny: &str| -> anyhow::Result<Broker> {
        let dir = tempfile::tempdir()?.keep();
        let file = dir.join("acl");
        fs::write(&file, format!("topic readwrite ulna/#\ntopic deny ulna/v1/{NAME}/{deny}\n"))?;
        Broker::start_with(&format!("allow_anonymous true\nacl_file {}\n", file.display()))
    };
    let centre = Centre::with_broker(acl("cmd/ping/denied/ack")?)?;
    let mut station = centre.station(&["ping"])?;
    station.start()?;
    centre.wait_until_subscribed(&station)?;
    centre.send("denied", &ping(), false)?;
    station.wait_for_line("the broker refuses it (not authorised)", LONG)?;
    assert_eq!(centre.ask("allowed", &ping(), &station)?, DONE);
    centre.result_of(&station, 1)?;
    assert!(station.stop()?.success());

    let centre = Centre::with_broker(acl("cmd/#")?)?;
    let mut station = centre.station(&["ping"])?;
    station.start()?;
    centre.result_of(&station, 1)?;
    centre.result_of(&station, 2)?;
    assert!(station.stop()?.success());
    Ok(())
}

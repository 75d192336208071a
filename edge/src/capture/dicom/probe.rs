//! Whether a receiver is there and lets a sender in, for `edge doctor`: an association and a C-ECHO, as a digitiser
//! begins.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AssociationRJResult, AssociationRQ, PDataValue, PDataValueType, Pdu, PresentationContextProposed,
    UserVariableItem,
};

use super::wire::{Wire, WireError};
use super::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, command, negotiation};

const CONTEXT_ID: u8 = 1;
const PDU_MAX_BYTES: u32 = 64 << 10;

/// Why an echo was not answered.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    /// Nobody listens there.
    #[error("{0}")]
    Unreachable(io::Error),
    /// The association was refused for good.
    #[error("it does not know one of the two AE titles")]
    Refused,
    /// Something else than an answer, or nothing.
    #[error("{0}")]
    NoAnswer(String),
}

impl From<WireError> for EchoError {
    fn from(error: WireError) -> Self {
        Self::NoAnswer(error.to_string())
    }
}

/// Asks as `calling` whether `called` is there; each step may take `patience`. A receiver that says it is busy is
/// there.
///
/// # Errors
/// When nobody listens, the association is refused, or there is no answer.
pub fn echo(address: SocketAddr, calling: &str, called: &str, patience: Duration) -> Result<(), EchoError> {
    let socket = TcpStream::connect_timeout(&address, patience).map_err(EchoError::Unreachable)?;
    let mut wire = Wire::new(socket, PDU_MAX_BYTES)?;
    wire.send(&Pdu::AssociationRQ(request(calling, called)))?;
    match wire.receive(patience)? {
        Pdu::AssociationAC(_) => {}
        Pdu::AssociationRJ(rejection) if rejection.result == AssociationRJResult::Transient => return Ok(()),
        Pdu::AssociationRJ(_) => return Err(EchoError::Refused),
        _ => return Err(WireError::Unexpected("something else than an answer came").into()),
    }
    let data = command::echo_request().ok_or(WireError::Unexpected("the echo cannot be written"))?;
    let value = PDataValue {
        presentation_context_id: CONTEXT_ID,
        value_type: PDataValueType::Command,
        is_last: true,
        data,
    };
    wire.send(&Pdu::PData { data: vec![value] })?;
    match wire.receive(patience)? {
        Pdu::PData { .. } => {}
        _ => return Err(WireError::Unexpected("something else than an answer came").into()),
    }
    // It has answered: how it takes the farewell does not matter.
    let _ = wire.send(&Pdu::ReleaseRQ).and_then(|()| wire.receive(patience));
    Ok(())
}

fn request(calling: &str, called: &str) -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: calling.to_owned(),
        called_ae_title: called.to_owned(),
        application_context_name: negotiation::APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: vec![PresentationContextProposed {
            id: CONTEXT_ID,
            abstract_syntax: uids::VERIFICATION.to_owned(),
            transfer_syntaxes: vec![uids::IMPLICIT_VR_LITTLE_ENDIAN.to_owned()],
        }],
        user_variables: vec![
            UserVariableItem::MaxLength(PDU_MAX_BYTES),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
        ],
    }
}

//! One association, from the request to the release: C-ECHO and C-STORE.
//!
//! A data set streams from the connection into the store's temporary file; at most one PDU of it is in memory. What is
//! refused is read to its end all the same and thrown away, because a sender listens only when it has said
//! everything.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use contract::radiograph::{DICOM_HEAD_MAX_BYTES, DecodeError, RejectReason, dicom_head};
use dicom_object::FileMetaTableBuilder;
use dicom_ul::pdu::{AbortRQServiceProviderReason as AbortReason, PDataValue, PDataValueType, Pdu};

use super::command::{self, Operation, Request, Status, is_uid};
use super::connections::Ticket;
use super::negotiation::{self, Context, negotiate};
use super::wire::{Wire, WireError};
use super::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, ORIGIN_PREFIX, Service};
use crate::capture::layout;
use crate::health::Trouble;
use crate::intake::AcceptError;
use crate::store::{Accepted, InstanceName, Origin};

/// What an association did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The peer's AE title, once it is known to be an allowed one.
    pub(super) peer: String,
    pub(super) accepted: usize,
    pub(super) refused: usize,
}

/// Serves a connection to its end.
pub(super) fn serve(
    service: &Service,
    socket: TcpStream,
    ticket: &Ticket,
    tally: &mut Tally,
) -> Result<(), WireError> {
    let config = &service.config;
    let mut wire = Wire::new(socket, config.pdu_max_bytes)?;
    let request = match wire.receive_request(Duration::from_secs(config.association_timeout_s)) {
        Ok(Pdu::AssociationRQ(request)) => request,
        Ok(_) => {
            wire.abort(AbortReason::UnexpectedPdu);
            return Err(WireError::Unexpected("something else came before the association request"));
        }
        Err(error) => return Err(broken_off(&mut wire, error)),
    };
    let agreement = negotiate(&request, config);
    let agreement = match agreement {
        Ok(agreement) if ticket.associate(config.associations_max) => agreement,
        refused => {
            let (rejection, why) = match refused {
                Err(rejection) => {
                    (rejection, "its AE title, or the one it called, is not the configured one")
                }
                Ok(_) => {
                    (negotiation::busy(), "as many associations are open as dicom.associations_max allows")
                }
            };
            wire.send(&Pdu::AssociationRJ(rejection))?;
            wire.finish();
            return Err(WireError::Unexpected(why));
        }
    };
    wire.send(&Pdu::AssociationAC(agreement.answer))?;
    tally.peer = request.calling_ae_title.trim().to_owned();
    let contexts = agreement.contexts;
    let mut association = Association { service, ticket, wire, contexts, queue: VecDeque::new(), tally };
    let ended = association.run();
    ended.map_err(|error| broken_off(&mut association.wire, error))
}

/// Tells the peer why the connection ends, where it can still hear that.
fn broken_off(wire: &mut Wire, error: WireError) -> WireError {
    match &error {
        WireError::Closed | WireError::Aborted | WireError::Io(_) => {}
        WireError::Silent(_) => wire.abort(AbortReason::ReasonNotSpecified),
        WireError::TooLong { .. } => wire.abort(AbortReason::InvalidPduParameter),
        WireError::NotDicom => wire.abort(AbortReason::UnrecognizedPdu),
        WireError::Unexpected(_) => wire.abort(AbortReason::UnexpectedPdu),
    }
    error
}

struct Association<'a> {
    service: &'a Service,
    ticket: &'a Ticket,
    wire: Wire,
    contexts: BTreeMap<u8, Context>,
    /// What is left of the last PDU.
    queue: VecDeque<PDataValue>,
    tally: &'a mut Tally,
}

impl Association<'_> {
    fn run(&mut self) -> Result<(), WireError> {
        while let Some((id, request)) = self.request()? {
            let Some(context) = self.contexts.get(&id).cloned() else {
                return Err(WireError::Unexpected("a message came on a presentation context not agreed on"));
            };
            let status = match request.operation {
                Operation::Cancel => continue,
                Operation::Echo if !request.has_data_set => Status::SUCCESS,
                Operation::Store if request.has_data_set => self.store(id, &context, &request)?,
                Operation::Echo | Operation::Store | Operation::Other(_) => {
                    if request.has_data_set {
                        DataSet::new(self, id).throw_away()?;
                    }
                    Status::new(0x0211, "only C-ECHO and C-STORE are offered")
                }
            };
            self.answer(id, &request, status)?;
        }
        Ok(())
    }

    /// The next fragment; `None` when the peer releases the association.
    fn fragment(&mut self) -> Result<Option<PDataValue>, WireError> {
        loop {
            if let Some(fragment) = self.queue.pop_front() {
                return Ok(Some(fragment));
            }
            match self.wire.receive(Duration::from_secs(self.service.config.idle_timeout_s))? {
                Pdu::PData { data } => self.queue.extend(data),
                Pdu::ReleaseRQ => {
                    self.wire.send(&Pdu::ReleaseRP)?;
                    self.wire.finish();
                    return Ok(None);
                }
                Pdu::AbortRQ { .. } => return Err(WireError::Aborted),
                _ => return Err(WireError::Unexpected("a PDU came that has no place in an association")),
            }
        }
    }

    /// The next request and its presentation context; `None` when the peer releases the association.
    fn request(&mut self) -> Result<Option<(u8, Request)>, WireError> {
        let mut bytes = Vec::new();
        let mut context = None;
        loop {
            let Some(fragment) = self.fragment()? else {
                let whole = bytes.is_empty();
                return if whole { Ok(None) } else { Err(WireError::Unexpected("released in mid-message")) };
            };
            let id = fragment.presentation_context_id;
            if fragment.value_type != PDataValueType::Command || *context.get_or_insert(id) != id {
                return Err(WireError::Unexpected("a data set came where a request should"));
            }
            bytes.extend_from_slice(&fragment.data);
            if bytes.len() > command::LENGTH_MAX {
                return Err(WireError::Unexpected("a request came that does not end"));
            }
            if fragment.is_last {
                let request = Request::read(&bytes);
                let request = request.ok_or(WireError::Unexpected("a request came that cannot be read"))?;
                return Ok(Some((id, request)));
            }
        }
    }

    fn answer(&mut self, context: u8, request: &Request, status: Status) -> Result<(), WireError> {
        let data = request.answer(status).ok_or(WireError::Unexpected("an answer that cannot be written"))?;
        let value = PDataValue {
            presentation_context_id: context,
            value_type: PDataValueType::Command,
            is_last: true,
            data,
        };
        self.wire.send(&Pdu::PData { data: vec![value] })
    }

    /// Takes an object. Its status is success only when the image is durable.
    fn store(&mut self, id: u8, context: &Context, request: &Request) -> Result<Status, WireError> {
        let (service, ticket) = (self.service, self.ticket);
        ticket.receiving(true);
        let sender = self.tally.peer.clone();
        let mut data_set = DataSet::new(self, id);
        let taken = match check(context, request) {
            Ok(()) => service.take(context, request, &sender, &mut data_set),
            Err(refusal) => Err(refusal),
        };
        // Before the object is over it is not known whether the connection is still there.
        let whole = data_set.throw_away();
        if let Ok((_, origin)) = &taken {
            ticket.brought(&origin.name);
        }
        ticket.receiving(false);
        whole?;
        Ok(match taken {
            Ok(_) => {
                self.tally.accepted += 1;
                service.health.set(Trouble::StoreFailing, false);
                crate::transition("dicom.before_answer");
                Status::SUCCESS
            }
            Err(refusal) => {
                self.tally.refused += 1;
                service.say_refused(&refusal);
                refusal.status()
            }
        })
    }
}

fn check(context: &Context, request: &Request) -> Result<(), Refusal> {
    if request.sop_class_uid != context.sop_class_uid {
        return Err(Refusal::OtherClass);
    }
    // A verification context is no place for objects.
    if !is_uid(&request.sop_instance_uid) {
        return Err(Refusal::BadName);
    }
    Ok(())
}

/// Why an object was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("its SOP class is not the one its presentation context is for")]
    OtherClass,
    #[error("its SOP Instance UID is none")]
    BadName,
    #[error("its data set has another SOP class or instance than the request names")]
    Mismatch,
    #[error("{0}")]
    NotUnderstood(#[from] DecodeError),
    #[error(transparent)]
    NotAccepted(#[from] AcceptError),
}

impl Refusal {
    /// The status of a C-STORE (PS3.4 annex B.2.3, PS3.7 annex C).
    pub(super) fn status(&self) -> Status {
        match self {
            Self::OtherClass => Status::new(0x0122, "SOP class is not that of the presentation context"),
            Self::BadName => Status::new(0x0117, "SOP Instance UID is not a UID"),
            Self::Mismatch => Status::new(0xa900, "data set has another SOP class or instance"),
            Self::NotUnderstood(DecodeError::TooManyPixels { width, height, .. }) => {
                Status::new(0xc002, format!("{width}x{height} px is more than is read"))
            }
            Self::NotUnderstood(error) => Status::new(0xc000, in_short(error.reason())),
            Self::NotAccepted(AcceptError::DiskFull { .. }) => {
                Status::new(0xa700, "no space left at the station; send again later")
            }
            Self::NotAccepted(AcceptError::TooLarge(_)) => {
                Status::new(0xc001, "object is larger than image.file_max_mib allows")
            }
            Self::NotAccepted(AcceptError::OtherContent(_)) => {
                Status::new(0x0111, "another image came under this SOP Instance UID")
            }
            Self::NotAccepted(AcceptError::Store(error)) if error.is_disk_full() => {
                Status::new(0xa700, "no space left at the station; send again later")
            }
            Self::NotAccepted(_) => Status::new(0x0110, "station cannot store it now; send again later"),
        }
    }

    /// The trouble of the station that it shows.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::NotAccepted(AcceptError::DiskFull { .. }) => Some(Trouble::DiskFull),
            Self::NotAccepted(AcceptError::Store(error)) if error.is_disk_full() => Some(Trouble::DiskFull),
            Self::NotAccepted(AcceptError::Store(_)) => Some(Trouble::StoreFailing),
            _ => None,
        }
    }
}

fn in_short(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::Truncated => "data set ends before its pixels begin",
        RejectReason::TooSmall => "too small for a radiograph",
        RejectReason::UnsupportedImage => "not a single still image that can be read",
        RejectReason::UnsupportedTransferSyntax => "transfer syntax cannot be decoded",
        _ => "data set cannot be understood",
    }
}

impl Service {
    fn take(
        &self,
        context: &Context,
        request: &Request,
        sender: &str,
        data_set: &mut dyn Read,
    ) -> Result<(Accepted, Origin), Refusal> {
        let name = InstanceName {
            sop_instance_uid: &request.sop_instance_uid,
            transfer_syntax: &context.transfer_syntax,
        };
        let meta = file_meta(context, request).map_err(AcceptError::Unreadable)?;
        let staged = self.intake.receive(name, &mut meta.as_slice().chain(data_set))?;
        let head = dicom_head(&staged.start(DICOM_HEAD_MAX_BYTES).map_err(AcceptError::from)?, &self.limits)?;
        if head.sop_class_uid.as_ref() != Some(&request.sop_class_uid)
            || head.sop_instance_uid.as_ref() != Some(&request.sop_instance_uid)
        {
            return Err(Refusal::Mismatch);
        }
        let facts = &head.facts;
        if facts.study_instance_uid.as_deref().is_some_and(|uid| !is_uid(uid)) {
            return Err(Refusal::NotUnderstood(DecodeError::Corrupt {
                format: contract::radiograph::Format::Dicom,
                detail: "its Study Instance UID is not a UID".to_owned(),
            }));
        }
        let default = self.config.default_study_type.as_ref();
        let origin = layout::dicom_origin(ORIGIN_PREFIX, &request.sop_instance_uid, Some(facts), default);
        Ok((self.intake.accept_received(staged, &origin, sender)?, origin))
    }
}

/// What stands before the data set in a file (PS3.10 section 7.1). It says nothing that changes from one version of
/// this program to the next: an object that is sent again is recognised by the file's content.
fn file_meta(context: &Context, request: &Request) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 128];
    bytes.extend_from_slice(b"DICM");
    FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(request.sop_class_uid.as_str())
        .media_storage_sop_instance_uid(request.sop_instance_uid.as_str())
        .transfer_syntax(context.transfer_syntax.as_str())
        .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(IMPLEMENTATION_VERSION_NAME)
        .build()
        .and_then(|table| table.write(&mut bytes))
        .map_err(|_| io::Error::other("its file meta information cannot be written"))?;
    Ok(bytes)
}

/// The data set of a message as it comes in.
struct DataSet<'a, 'b> {
    association: &'a mut Association<'b>,
    context: u8,
    fragment: io::Cursor<Vec<u8>>,
    ended: bool,
    until: Instant,
    failed: Option<WireError>,
}

impl<'a, 'b> DataSet<'a, 'b> {
    fn new(association: &'a mut Association<'b>, context: u8) -> Self {
        let patience = Duration::from_secs(association.service.config.transfer_timeout_s);
        let until = Instant::now() + patience;
        Self { association, context, fragment: io::Cursor::default(), ended: false, until, failed: None }
    }

    /// Reads what is left.
    fn throw_away(mut self) -> Result<(), WireError> {
        let read = io::copy(&mut self, &mut io::sink());
        match (self.failed.take(), read) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(WireError::Io(error)),
            (None, Ok(_)) => Ok(()),
        }
    }

    fn next(&mut self) -> Result<PDataValue, WireError> {
        if Instant::now() >= self.until {
            let timeout_s = self.association.service.config.transfer_timeout_s;
            return Err(WireError::Silent(Duration::from_secs(timeout_s)));
        }
        let fragment = self.association.fragment()?;
        let fragment = fragment.ok_or(WireError::Unexpected("released in mid-message"))?;
        if fragment.value_type != PDataValueType::Data || fragment.presentation_context_id != self.context {
            return Err(WireError::Unexpected("a request came where a data set should go on"));
        }
        Ok(fragment)
    }
}

impl Read for DataSet<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.fragment.read(bytes)?;
            if read > 0 || self.ended || bytes.is_empty() {
                return Ok(read);
            }
            if self.failed.is_some() {
                return Err(io::Error::other("the connection broke off"));
            }
            match self.next() {
                Ok(fragment) => {
                    self.ended = fragment.is_last;
                    self.fragment = io::Cursor::new(fragment.data);
                }
                Err(error) => {
                    self.failed = Some(error);
                    return Err(io::Error::other("the connection broke off"));
                }
            }
        }
    }
}

//! One task per stream: reads its frames and posts them to the actor.
//!
//! A task ends with its stream, with the actor, or when the actor has let go of the stream's sending side.

use std::{future::Future, time::Duration};

use freshet_storage_api::{
    AnswerSender, AttachRequest, ControlReceiver, DeliverySender, LinkEnd, LinkHandler, OperationReceiver,
    ReceiveError, charged_bytes,
};
use tokio::{sync::oneshot, time::timeout};

use crate::mailbox::{ActorGone, AttachedStream, Half, LinkKey, Mailbox, ToActor};

/// A stream whose first frame has not come within this time is ended.
pub(crate) const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Gives the streams that proxies open to the actor.
#[derive(Debug)]
pub(crate) struct Streams {
    mailbox: Mailbox,
}

impl Streams {
    pub(crate) fn new(mailbox: Mailbox) -> Self {
        Self { mailbox }
    }
}

impl LinkHandler for Streams {
    fn handle_operations(&self, mut operations: OperationReceiver, answers: AnswerSender) {
        let mailbox = self.mailbox.clone();
        tokio::spawn(async move {
            match first_frame(operations.attach()).await {
                Ok(request) => {
                    // The actor has gone: the node shuts down, and the stream with it.
                    let _ = read_operations(&mailbox, request, operations, answers).await;
                }
                Err(end) => answers.end(end),
            }
        });
    }

    fn handle_deliveries(&self, mut controls: ControlReceiver, deliveries: DeliverySender) {
        let mailbox = self.mailbox.clone();
        tokio::spawn(async move {
            match first_frame(controls.attach()).await {
                Ok(request) => {
                    let _ = read_controls(&mailbox, request, controls, deliveries).await;
                }
                Err(end) => deliveries.end(end),
            }
        });
    }
}

/// Waits for the frame that attaches a stream. Nobody is known yet: what goes wrong is a matter of debugging.
async fn first_frame(
    frame: impl Future<Output = Result<AttachRequest, ReceiveError>>,
) -> Result<AttachRequest, LinkEnd> {
    match timeout(ATTACH_TIMEOUT, frame).await {
        Ok(Ok(request)) => Ok(request),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a stream was not attached");
            Err(match error {
                ReceiveError::NotUnderstood(error) => LinkEnd::NotUnderstood(error),
                ReceiveError::Lost(_) => LinkEnd::Incomplete,
            })
        }
        Err(_) => Err(LinkEnd::Incomplete),
    }
}

async fn read_operations(
    mailbox: &Mailbox,
    request: AttachRequest,
    mut operations: OperationReceiver,
    answers: AnswerSender,
) -> Result<(), ActorGone> {
    let link = LinkKey {
        incarnation: request.proxy.incarnation,
        number: request.link,
    };
    let (reader, mut let_go) = oneshot::channel();
    let stream = AttachedStream::Operations(Half {
        sender: answers,
        _reader: reader,
    });
    mailbox.post(ToActor::Attach { request, stream }).await?;
    loop {
        let frame = tokio::select! {
            frame = operations.recv() => frame,
            _ = &mut let_go => return Ok(()),
        };
        match frame {
            Ok(Some(frame)) => {
                let bytes = charged_bytes(&frame);
                mailbox.post_operations(link, frame, bytes).await?;
            }
            Ok(None) => return mailbox.post(ToActor::Ended { link, error: None }).await,
            Err(error) => {
                return mailbox
                    .post(ToActor::Ended {
                        link,
                        error: Some(error),
                    })
                    .await;
            }
        }
    }
}

async fn read_controls(
    mailbox: &Mailbox,
    request: AttachRequest,
    mut controls: ControlReceiver,
    deliveries: DeliverySender,
) -> Result<(), ActorGone> {
    let link = LinkKey {
        incarnation: request.proxy.incarnation,
        number: request.link,
    };
    let (reader, mut let_go) = oneshot::channel();
    let stream = AttachedStream::Deliveries(Half {
        sender: deliveries,
        _reader: reader,
    });
    mailbox.post(ToActor::Attach { request, stream }).await?;
    loop {
        let frame = tokio::select! {
            frame = controls.recv() => frame,
            _ = &mut let_go => return Ok(()),
        };
        match frame {
            Ok(Some(controls)) => mailbox.post(ToActor::Controls { link, controls }).await?,
            Ok(None) => return mailbox.post(ToActor::Ended { link, error: None }).await,
            Err(error) => {
                return mailbox
                    .post(ToActor::Ended {
                        link,
                        error: Some(error),
                    })
                    .await;
            }
        }
    }
}

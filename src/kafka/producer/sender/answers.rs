//! What follows from the brokers' answers: taken, to be sent again, or lost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kafka_protocol::error::{ParseResponseErrorCode, ResponseError as Code};
use kafka_protocol::messages::ProduceResponse;

use super::{Closing, Sender, Sent};
use crate::kafka::producer::Place;
use crate::kafka::producer::failure::{Failure, Verdict, said, verdict};
use crate::kafka::producer::identity::Step;
use crate::{Error, Kind, Result};

impl Sender {
    pub(super) fn landed(&mut self, broker: i32, sent: Vec<Sent>, answer: Result<ProduceResponse>) {
        if let Some(under_way) = self.under_way.get_mut(&broker) {
            *under_way = under_way.saturating_sub(1);
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.unanswered = true;
                for (place, sequence) in sent {
                    self.again(&place, sequence);
                }
                return self.hindered(Step::Later(error));
            }
        };
        let codes: HashMap<(&str, i32), Option<Code>> = answer
            .responses
            .iter()
            .flat_map(|topic| topic.partition_responses.iter().map(move |one| (topic, one)))
            .map(|(topic, one)| ((topic.name.as_str(), one.index), one.error_code.err()))
            .collect();
        for (place, sequence) in sent {
            // A partition that is not answered for was not taken.
            let code = codes.get(&(&*place.0, place.1)).copied().unwrap_or(Some(Code::NetworkException));
            let first = self.lanes.get(&place).is_some_and(|lane| lane.is_first(sequence));
            match verdict(code) {
                Verdict::Written => {
                    if let Some(lane) = self.lanes.get_mut(&place) {
                        self.queue.done(lane.taken(sequence));
                    }
                    self.pauses = 0;
                    self.queue.hinder(None);
                }
                Verdict::OutOfOrder if !first => self.again(&place, sequence),
                Verdict::Again | Verdict::Missing => {
                    self.again(&place, sequence);
                    self.hindered(Step::Later(refused(&place, code)));
                }
                Verdict::Overtaken => {
                    self.again(&place, sequence);
                    self.fail(self.identity.overtaken(code.unwrap_or(Code::UnknownServerError)));
                }
                Verdict::Lasting => {
                    self.again(&place, sequence);
                    self.fail(Failure::Topic(place.0.to_string(), code.unwrap_or(Code::UnknownServerError)));
                }
                Verdict::OutOfOrder | Verdict::Lost => {
                    self.again(&place, sequence);
                    self.fail(Failure::Abort(refused(&place, code).causes()));
                }
            }
        }
    }

    /// To be sent again, to whoever leads the partition then; or to be forgotten.
    pub(super) fn again(&mut self, place: &Place, sequence: i32) {
        let Some(lane) = self.lanes.get_mut(place) else { return };
        lane.again(sequence);
        self.unknown.entry(place.0.to_string()).or_insert_with(Instant::now);
        let spoilt = self.queue.lock().failed.as_ref().is_some_and(|failed| failed.spoils(&place.0));
        if spoilt || matches!(self.closing, Some(Closing::Abort(_))) {
            self.queue.done(lane.discard());
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        for (place, lane) in &mut self.lanes {
            if failure.spoils(&place.0) {
                self.queue.done(lane.discard());
            }
        }
        self.queue.fail(failure);
    }

    pub(super) fn discard(&mut self) {
        for lane in self.lanes.values_mut() {
            self.queue.done(lane.discard());
        }
    }

    /// Waits a moment before the next attempt, or gives up.
    pub(super) fn hindered(&mut self, step: Step) {
        const SOON: Duration = Duration::from_millis(2);
        const FIRST: Duration = Duration::from_millis(50);
        const MOST: Duration = Duration::from_secs(1);
        match step {
            Step::Done => {}
            Step::Failed(failure) => self.fail(failure),
            Step::Soon => {
                let pause = (SOON * 2_u32.pow(self.pauses.min(6))).min(MOST);
                self.pauses += 1;
                self.paused = Some(Instant::now() + pause);
            }
            Step::Later(error) => {
                tracing::debug!(target: "kafka", error = %error, cause = error.cause_text(), "tried again");
                self.queue.hinder(Some(&error));
                let pause = (FIRST * 2_u32.pow(self.pauses.min(6))).min(MOST);
                self.pauses += 1;
                self.paused = Some(Instant::now() + pause);
            }
        }
    }
}

fn refused(place: &Place, code: Option<Code>) -> Error {
    let said = code.map_or_else(|| "no answer".to_owned(), said);
    Error::new(Kind::Kafka, format!("partition {} of topic {} was not written", place.1, place.0))
        .because(said)
        .hint("are the brokers up, and are there enough in-sync replicas (min.insync.replicas)?")
}

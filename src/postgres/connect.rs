//! One connection to PostgreSQL.

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::{error::classify, tls};
use crate::config::Database;
use crate::{Error, Kind, Result};

/// A connection. Dropping it closes the socket at once, in the middle of a COPY too: the server notices, ends the
/// statement and gives its locks back.
pub struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects within `database.connect_timeout`: name, TCP, TLS and authentication together, as a server that accepts and
    /// then stays silent would hold us for ever. The settings are read anew, since `DATABASE_URL` may have been rotated.
    pub async fn open(database: &Database, connector: &str) -> Result<Connection> {
        let target = database.resolve(&format!("strandline {connector}"))?;
        let tls = tls::connector(&target)?;
        let connecting = tokio::time::timeout(target.connect_timeout, target.settings.connect(tls));
        let (client, connection) = match connecting.await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(refused(classify(error))),
            Err(_) => {
                return Err(Error::new(
                    Kind::Unreachable,
                    format!("1006: PostgreSQL did not answer within {:?}", target.connect_timeout),
                )
                .hint("check database.hostname and database.port, and firewalls between"));
            }
        };
        let driver = tokio::spawn(async move {
            // An error reaches whoever waits for an answer on this connection.
            let _ = connection.await;
        });
        Ok(Connection { client, driver })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

/// A right that is missing while connecting (CONNECT on the database) is no matter of one object.
fn refused(error: Error) -> Error {
    match error.kind() {
        Kind::Denied => {
            let causes = error.causes();
            Error::new(Kind::Refused, "1017: the role may not connect to the database")
                .because(causes)
                .hint("GRANT CONNECT ON DATABASE … TO the role")
        }
        _ => error,
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

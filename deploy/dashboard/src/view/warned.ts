// Everything about a station that needs somebody, in words.
import { type Fleet, outboxKey, type Station } from "../fleet/fleet.ts";
import { gaps } from "../fleet/sequence.ts";
import { warnings } from "../fleet/warnings.ts";
import { WORDS } from "../words.ts";

/** The name of the results that this page reads, as a birth lists it. */
const RESULTS = "ulna/v1/result";

export function allWarnings(fleet: Fleet, station: Station): string[] {
  const found: string[] = warnings(station.health).map((warning) => WORDS.warnings[warning]);
  if (station.birth && !station.birth.schemas.includes(RESULTS)) found.push(WORDS.warnings.speaks_other);
  const outbox = station.birth && fleet.outboxes.get(outboxKey(station.name, station.birth.outbox_id));
  if (outbox && gaps(outbox).missing.length > 0) found.push(WORDS.warnings.gap);
  return found;
}

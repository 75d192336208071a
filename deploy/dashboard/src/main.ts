// The page from beginning to end: be the only one, know what was kept, log in, listen, draw.
import "./style.css";
import { read } from "./contract/read.ts";
import { Fleet } from "./fleet/fleet.ts";
import { Broker } from "./io/broker.ts";
import { Draw, Meter } from "./io/draw.ts";
import { Intake } from "./io/intake.ts";
import { Keeper } from "./io/keeper.ts";
import { lead } from "./io/lead.ts";
import { type Login, Storage } from "./io/storage.ts";
import { put } from "./view/format.ts";
import { askHere, askLogin } from "./view/login.ts";
import type { Context } from "./view/screen.ts";
import { Shell } from "./view/shell.ts";
import { WORDS } from "./words.ts";

/** Ages on the screen, staleness and what health said are looked at this often. */
const TICK_MS = 1_000;
const PRUNE_MS = 60_000;

const shell = new Shell(document.body);
const restart = (): void => location.reload();

async function openStorage(): Promise<Storage | null> {
  try {
    return await Storage.open();
  } catch (error) {
    shell.complain(put(WORDS.no_storage, { why: error instanceof Error ? error.name : String(error) }));
    return null;
  }
}

/** The name of this browser's session; a browser that keeps nothing has a new one each time. */
async function clientName(storage: Storage | null): Promise<string> {
  const known = await storage?.setting("client");
  if (known) return known;
  const made = `ulna-dashboard-${[...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  await storage?.set("client", made);
  return made;
}

/**
 * Listens with a login; gives why the broker refused it, or null once it answered. A login that was just entered is given up when
 * nothing answers (`patient` is false); one that was kept is tried until something does.
 */
function listen(
  login: Login, client: string, patient: boolean, fleet: Fleet, intake: Intake, context: Context,
): Promise<{ broker: Broker; refused: string | null }> {
  const { refused } = WORDS.connection;
  return new Promise((resolve) => {
    let answered = false;
    const broker: Broker = new Broker(login, client, intake, {
      connected: (resumed) => {
        answered = true;
        context.session.resumed = resumed;
        fleet.listen(resumed, Date.now());
        shell.connected();
        context.ask();
        resolve({ broker, refused: null });
      },
      lost: () => {
        if (!answered && !patient) {
          void broker.end(false);
          resolve({ broker, refused: refused.unreachable });
        }
        fleet.deafen();
        shell.lost();
        context.ask();
      },
      refused: (why) => {
        answered = true;
        resolve({ broker, refused: refused[why] });
      },
      denied: () => shell.complain(refused.not_allowed),
      taken: () => shell.complain(WORDS.connection.taken),
    });
  });
}

async function run(): Promise<void> {
  for (let steal = false; !(await lead(steal, restart)); steal = true) await askHere(shell.place);
  const storage = await openStorage();
  const fleet = new Fleet();
  if (storage) fleet.restore(await storage.kept());

  const draw = new Draw(() => shell.draw(Date.now()));
  const slices = new Meter();
  const keeper = new Keeper(fleet, storage, (why) => shell.complain(put(WORDS.no_storage, { why })));
  const intake = new Intake(
    ({ topic, payload, retained }) => fleet.take(read(topic, payload, retained), Date.now()),
    (ms) => {
      slices.add(ms);
      keeper.changed();
      draw.later();
    },
  );
  let broker: Broker | null = null;
  const context: Context = {
    fleet, storage, ask: () => draw.ask(), drawing: draw.meter, slices, session: { address: "", resumed: null },
    leave: () => void leave(false),
    forget: () => void leave(true),
  };
  const leave = async (forget: boolean): Promise<void> => {
    await broker?.end(forget);
    await keeper.write();
    if (forget) await storage?.clear();
    else await storage?.set("login", null);
    location.reload();
  };

  const client = await clientName(storage);
  let known = (await storage?.setting("login")) ?? null;
  let why = "";
  let shown = false;
  let ticking = false;
  while (broker === null) {
    const kept = known !== null && why === "";
    if (!kept) shown = false;
    const asked = kept && known ? { login: known, keep: true } : await askLogin(shell.place, why, known);
    known = asked.login;
    context.session.address = asked.login.address;
    // With a login that was kept, what was seen is shown before the broker answers.
    if (kept) begin();
    const answer = await listen(asked.login, client, kept, fleet, intake, context);
    why = answer.refused ?? "";
    if (why) continue;
    broker = answer.broker;
    await storage?.set("login", asked.keep ? asked.login : null);
  }
  // A screen that is shown already stays: what has the focus keeps it.
  if (!shown) begin();

  function begin(): void {
    shown = true;
    shell.begin(context);
    if (ticking) return;
    ticking = true;
    setInterval(() => {
      fleet.tick(Date.now());
      draw.ask();
    }, TICK_MS);
    setInterval(() => {
      fleet.prune(Date.now());
      keeper.changed();
      void storage?.pruneSamples(Date.now());
    }, PRUNE_MS);
  }
}

void run();

// The connection to the broker: MQTT 5 over a websocket, reading only.
//
// The broker keeps a session for this browser, in which it queues results while the page is closed. What it keeps anyway
// (status, birth, health, the newest result) is asked for again at each connect instead, at QoS 0, so that it is not queued too.
import mqtt, { type IConnackPacket, type IPublishPacket, type MqttClient } from "mqtt";
import { KEPT, SEQUENCE } from "../contract/topics.ts";
import type { Intake } from "./intake.ts";
import type { Login } from "./storage.ts";

/** How long the broker queues results for this browser, unless its own limit is lower. */
const SESSION_EXPIRY_S = 3 * 86_400;
/** Timers of a page in the background run once a minute. */
const KEEPALIVE_S = 120;
const CONNECT_TIMEOUT_MS = 15_000;
const RETRY_MIN_MS = 2_000;
const RETRY_SPREAD_MS = 4_000;
const MESSAGE_MAX_BYTES = 1_500_000;

/** MQTT 5 reason codes (section 2.4) after which trying again is of no use. mosquitto says 0x87 of a wrong password. */
const REFUSED = { 0x84: "version", 0x85: "client", 0x86: "login", 0x87: "login", 0x8a: "banned", 0x8c: "login" } as const;
export type Refusal = (typeof REFUSED)[keyof typeof REFUSED] | "unreachable";

export interface Events {
  /** The broker answered; `resumed` when it had kept a session. */
  connected(resumed: boolean): void;
  /** No connection; it is tried again unless this one is ended. */
  lost(): void;
  /** The broker refuses; it is not tried again. */
  refused(why: Refusal): void;
  /** The broker lets this login in, and not read. */
  denied(): void;
  /** Another page uses the same session; this one gives up. */
  taken(): void;
}

/** Where the websocket of the broker that served this page is. */
export function ownAddress(): string {
  return `${location.protocol === "http:" ? "ws" : "wss"}://${location.host}/mqtt`;
}

export class Broker {
  readonly #client: MqttClient;

  constructor(login: Login, name: string, intake: Intake, events: Events) {
    this.#client = mqtt.connect(login.address, {
      protocolVersion: 5,
      clientId: name,
      username: login.user,
      password: login.password,
      clean: false,
      properties: { sessionExpiryInterval: SESSION_EXPIRY_S, maximumPacketSize: MESSAGE_MAX_BYTES },
      keepalive: KEEPALIVE_S,
      connectTimeout: CONNECT_TIMEOUT_MS,
      reconnectPeriod: RETRY_MIN_MS + Math.random() * RETRY_SPREAD_MS,
      resubscribe: false,
      // The other variant is a worker made of text, which the page's policy forbids.
      timerVariant: "native",
    });
    const give_up = (): void => void this.#client.end(true);
    this.#client.handleMessage = (packet: IPublishPacket, done) => {
      const payload = typeof packet.payload === "string" ? new TextEncoder().encode(packet.payload) : packet.payload;
      intake.push({ topic: packet.topic, payload, retained: packet.retain }, done);
    };
    this.#client.on("connect", (packet: IConnackPacket) => {
      events.connected(packet.sessionPresent);
      for (const [topics, qos] of [[SEQUENCE, 1], [KEPT, 0]] as const) {
        this.#client.subscribe(topics, { qos }, (error) => {
          if (error && this.#client.connected) events.denied();
        });
      }
    });
    this.#client.on("close", () => events.lost());
    this.#client.on("error", (error) => {
      const why = "code" in error ? REFUSED[error.code as keyof typeof REFUSED] : undefined;
      if (!why) return;
      give_up();
      events.refused(why);
    });
    this.#client.on("disconnect", (packet) => {
      if (packet.reasonCode !== 0x8e) return;
      give_up();
      events.taken();
    });
  }

  /** Ends the connection; `forget` ends the broker's session, too. */
  async end(forget: boolean): Promise<void> {
    await this.#client.endAsync(false, forget ? { reasonCode: 0, properties: { sessionExpiryInterval: 0 } } : {}).catch(() => undefined);
  }
}

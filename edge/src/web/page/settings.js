// The configuration and the versions, to be read out to support.
import { TEXT } from "../text.js";
import { api } from "./api.js";
import { attributes, complaint, element } from "./dom.js";
import { live } from "./live.js";
import { fill } from "./words.js";

const isTable = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

function shown(value) {
  if (value === null) return TEXT.settings.unset;
  if (typeof value === "boolean") return value ? TEXT.settings.yes : TEXT.settings.no;
  return Array.isArray(value) || isTable(value) ? JSON.stringify(value) : String(value);
}

function table(name, entries) {
  const list = element("dl", "facts");
  for (const [key, value] of entries) list.append(element("dt", "", key), element("dd", "", shown(value)));
  return element("section", "table", element("h2", "", name), list);
}

function tables(settings) {
  const entries = Object.entries(settings);
  const plain = entries.filter(([, value]) => !isTable(value));
  const named = entries.filter(([, value]) => isTable(value));
  return [
    ...(plain.length > 0 ? [table(TEXT.settings.general, plain)] : []),
    ...named.map(([name, value]) => table(`[${name}]`, Object.entries(value))),
  ];
}

function versions(station, description) {
  return table(TEXT.settings.versions, [
    [TEXT.settings.station, station.station],
    [TEXT.settings.edge, station.edge_version],
    [TEXT.settings.api, `${description.info.version} (OpenAPI ${description.openapi})`],
    [TEXT.settings.model, fill(TEXT.model.name, station.model)],
    [TEXT.settings.bundle, station.model.bundle_sha256],
    ...(station.broker.last_error ? [[TEXT.settings.network, station.broker.last_error]] : []),
  ]);
}

export function settings() {
  const heading = attributes(element("h1", "", TEXT.settings.heading), { tabindex: "-1" });
  const said = complaint();
  const body = element("div", "tables");
  let loaded = false;
  async function load() {
    loaded = true;
    try {
      const [values, description, station] = await Promise.all([api.settings(), api.description(), api.station()]);
      body.replaceChildren(versions(station, description), ...tables(values));
      said.textContent = "";
    } catch (error) {
      said.textContent = error.message;
      loaded = false;
    }
  }
  load();
  const node = element("div", "settings", heading, element("p", "soft", TEXT.settings.note), said, body);
  // Asked again once the service answers again.
  const update = () => { if (!loaded && !live.silent) load(); };
  return { node, heading, title: TEXT.settings.heading, update };
}

// The views of an open study: each with its picture, what became of it, and what can be done with it.
import { TEXT } from "../text.js";
import { api } from "./api.js";
import { views } from "./cards.js";
import { ask } from "./dialog.js";
import { action, attributes, complaint, element, filePicker, keyed, say } from "./dom.js";
import { live, put } from "./live.js";
import { shape } from "./shapes.js";
import { fill, rejection } from "./words.js";

const THUMBNAIL_PX = 320;
const INITIALS_MAX = 8;
const SIGNS = { waiting: "waiting", scored: "good", rejected: "rejected" };
/** Pictures that are kept when a card is made anew, so that they are not asked for again. */
const PICTURES_MAX = 64;
const pictures = new Map();
/** Reasons for which there is nothing to be shown. */
const UNREADABLE = [
  "truncated", "not_an_image", "corrupt", "too_large", "too_small", "unsupported_transfer_syntax", "unsupported_image",
];

/** Whether there is a picture of an image. */
export const pictured = ({ kept, rejected }) => kept && !UNREADABLE.includes(rejected?.reason);

/** A small picture of an image; where there is none, the words. */
export function thumbnail(image, index) {
  const known = pictures.get(image.image_id);
  if (known) return known;
  const frame = element("div", "thumbnail");
  const gone = () => frame.replaceChildren(element("span", "soft", TEXT.view.gone));
  if (pictured(image)) {
    const picture = attributes(element("img", ""), { alt: fill(TEXT.view.picture, { index }), decoding: "async" });
    picture.addEventListener("error", () => { gone(); pictures.delete(image.image_id); });
    picture.src = api.picture(image.image_id, THUMBNAIL_PX);
    frame.append(picture);
    if (pictures.size >= PICTURES_MAX) pictures.delete(pictures.keys().next().value);
    pictures.set(image.image_id, frame);
  } else {
    gone();
  }
  return frame;
}

/** Why an image was not scored, and what to do. */
export function whyNot({ reason }) {
  const { name, todo } = rejection(reason);
  return [element("p", "reason", name), element("p", "todo", todo)];
}

/** What was found in such an image, for whoever wants to know more. */
export function found({ reason, detail, also = [] }) {
  const said = [element("p", "detail", fill(TEXT.view.found, { detail }))];
  // What else is odd about an image without content helps nobody.
  if (also.length > 0 && reason !== "blank") {
    const reasons = also.map((other) => rejection(other).name.toLowerCase()).join(", ");
    said.push(element("p", "detail", fill(TEXT.view.also, { reasons })));
  }
  return said;
}

function dropping(image, index, said) {
  return action(TEXT.view.drop, "", async () => {
    const sure = await ask({
      title: fill(TEXT.view.drop_title, { index }), text: TEXT.view.drop_text, yes: TEXT.view.drop_yes, grave: true,
    });
    if (sure === null) return;
    put(await api.drop(image.image_id));
    say(fill(TEXT.said.dropped, { index }));
  }, said);
}

function overruling(image, index, said) {
  return action(TEXT.view.overrule, "", async () => {
    const reason = rejection(image.rejected.reason).name.toLowerCase();
    const initials = await ask({
      title: fill(TEXT.view.overrule_title, { index }),
      text: fill(TEXT.view.overrule_text, { reason }),
      yes: TEXT.view.overrule_yes,
      field: { label: TEXT.view.overrule_initials, length_max: INITIALS_MAX },
    });
    if (initials !== null) put(await api.overrule(image.image_id, initials));
  }, said);
}

/** What puts another radiograph in an image's place. */
function retaking(study, image, said, camera) {
  const again = async (work) => {
    await work;
    put(await api.study(study.number));
  };
  if (live.station?.camera) {
    return action(TEXT.view.retake, "", () => camera(() => again(api.capture(study.number, image.image_id))), said, TEXT.view.retake_busy);
  }
  const replace = (file) => again(api.add(study.number, file, image.image_id));
  return filePicker(TEXT.view.retake_file, "", replace, said, TEXT.view.retake_busy);
}

function card({ study, image, index }, camera) {
  const said = complaint();
  const state = element("p", "state", shape(SIGNS[image.state]), " ", TEXT.view[image.state]);
  const words = element("div", "words", element("h3", "", fill(TEXT.view.name, { index })), state);
  const buttons = element("div", "buttons");
  if (image.rejected) words.append(...whyNot(image.rejected));
  if (image.overruled.length > 0) {
    const reasons = image.overruled.map((reason) => rejection(reason).name.toLowerCase()).join(", ");
    words.append(element("p", "soft", fill(TEXT.view.overruled, { reasons })));
  }
  if (study.open && !study.closing) buttons.append(retaking(study, image, said, camera));
  if (image.overrulable) buttons.append(overruling(image, index, said));
  if (study.open) buttons.append(dropping(image, index, said));
  // What can be done stays near what is to be done; the particulars come below.
  const more = image.rejected ? element("div", "more", ...found(image.rejected)) : null;
  return element("li", "view " + image.state, thumbnail(image, index), words, buttons, said, more);
}

/** Shows a study's views in a list. `camera` does something for which the camera is needed. */
export function showViews(list, study, camera) {
  const items = views(study).map((image, position) => ({ study, image, index: position + 1 }));
  // What needs hands comes first.
  items.sort((one, other) => (other.image.state === "rejected") - (one.image.state === "rejected"));
  const signature = ({ image, index }) => {
    const { state, kept, rejected, overrulable, overruled } = image;
    const can = [study.open, study.closing, live.station?.camera];
    return JSON.stringify([index, state, kept, rejected, overrulable, overruled, can]);
  };
  keyed(list, items, ({ image }) => image.image_id, signature, (item) => card(item, camera));
}

/** Says to the reader of screens what became of views since the study was last seen. */
export function sayChanges(before, now) {
  const known = new Map((before?.images || []).map((image) => [image.image_id, image.state]));
  views(now).forEach((image, position) => {
    const was = known.get(image.image_id);
    if (was === undefined || was === image.state) return;
    const reason = image.rejected ? rejection(image.rejected.reason).name.toLowerCase() : "";
    const text = TEXT.said[image.state];
    if (text) say(fill(text, { index: position + 1, reason }));
  });
}

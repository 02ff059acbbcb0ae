// How values are put in words.
import { h } from './dom.js';

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const number = new Intl.NumberFormat('en');

export const count = (n) => number.format(n ?? 0);

// many is a number with its noun.
export const many = (n, one, more) => `${count(n)} ${n === 1 ? one : more ?? one + 's'}`;

// time shows a time in the reader's zone; the exact one is its title.
export function time(value, fine) {
  if (!value) return '–';
  const t = new Date(value);
  const ms = fine ? '.' + String(t.getMilliseconds()).padStart(3, '0') : '';
  const now = new Date();
  const year = t.getFullYear() === now.getFullYear() ? '' : ` ${t.getFullYear()}`;
  const date = t.toDateString() === now.toDateString() ? '' : `${day.format(t)}${year}, `;
  return h('time', { datetime: value, title: value }, date + clock.format(t) + ms);
}

// span is a length of time in words.
export function span(ms) {
  const s = Math.max(0, ms) / 1000;
  if (ms < 1) return 'less than 1 ms';
  if (s < 1) return `${Math.round(ms)} ms`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

// ago is how long ago a time was; the exact one is its title.
export function ago(value) {
  if (!value) return '–';
  const ms = Date.now() - new Date(value).getTime();
  return h('time', { datetime: value, title: value }, ms < 0 ? `in ${span(-ms)}` : `${span(ms)} ago`);
}

// duration shortens a duration as Go writes it: 1h2m3.45s.
export function duration(value) {
  if (!value) return '–';
  const unit = { h: 3600e3, m: 60e3, s: 1e3, ms: 1, 'µs': 1e-3, ns: 1e-6 };
  let ms = 0;
  for (const [, n, u] of value.matchAll(/([\d.]+)(h|ms|m|s|µs|ns)/g)) ms += Number(n) * unit[u];
  if (ms === 0) return '–';
  if (ms < 10) return `${ms.toFixed(ms < 1 ? 2 : 1)} ms`;
  if (ms < 10000) return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
  return span(ms);
}

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  let v = n ?? 0;
  while (v >= 1024 && i < units.length - 1) { v /= 1024; i++; }
  return `${i && v < 100 ? v.toFixed(1) : Math.round(v)} ${units[i]}`;
}

// kinds are the looks of states; the word itself is always shown.
const kinds = {
  delivered: 'good', active: 'good', done: 'good', ok: 'good', matches: 'good', closed: 'good', true: 'good', 'in force': 'good', indexed: 'good',
  queued: 'wait', 'in flight': 'wait', inflight: 'wait', running: 'wait', scheduled: 'wait', waiting: 'wait', mixed: 'wait', 'half-open': 'warn',
  retrying: 'warn', paused: 'warn', orphaned: 'warn', open: 'warn', expired: 'warn', scan: 'warn', failed: 'bad', failing: 'bad', dead: 'bad', 'fails': 'bad', suspended: 'bad',
};

const shown = { inflight: 'in flight', dead: 'dead letter' };

// badge is a short word with a look: good, wait, warn, bad or plain.
export const badge = (look, word) => h('span', { class: `state ${look}` }, word);

// state is the badge of a state.
export const state = (s) => badge(kinds[s] ?? 'plain', shown[s] ?? s);

// routes of the console.
const join = (...parts) => '#/' + parts.map((p) => encodeURIComponent(p)).join('/');
export const to = {
  event: (bus, seq) => join('events', bus, seq),
  events: (bus, query) => (bus ? join('events', bus) : '#/events') + (query ? '?' + new URLSearchParams(query) : ''),
  object: join, // a bus, a target or a source: its kind and name
  rule: (name) => join('rules', name),
  target: (name) => join('targets', name),
  source: (name) => join('sources', name),
  subscription: (rule, target) => join('subscriptions', rule, ...String(target).split('/')),
  replay: (id) => join('replays', id),
};

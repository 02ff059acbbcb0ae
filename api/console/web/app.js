// The console: finds the page for the part of the address after #, shows it, and
// ends what the page before it had under way.
import { h, problem } from './dom.js';
import overview from './pages/overview.js';
import events from './pages/events.js';
import event from './pages/event.js';
import { rules, rule } from './pages/rules.js';
import { subscriptions, subscription } from './pages/subscriptions.js';
import { objects, object } from './pages/objects.js';
import { replays, replay } from './pages/replays.js';
import scheduled from './pages/scheduled.js';

const main = document.getElementById('main');

// pages are found by their first matching line; ':' stands for any one part.
const pages = [
  ['', overview, 'Overview'],
  ['events', events, 'Events'],
  ['events/:', events, 'Events'],
  ['events/:/:', event, 'Event'],
  ['rules', rules, 'Rules'],
  ['rules/:', rule, 'Rule'],
  ['subscriptions', subscriptions, 'Subscriptions'],
  ['subscriptions/:/:', subscription, 'Subscription'],
  ['subscriptions/:/:/:', subscription, 'Subscription'],
  ['buses', objects('buses'), 'Buses'],
  ['buses/:', object('buses'), 'Bus'],
  ['targets', objects('targets'), 'Targets'],
  ['targets/:', object('targets'), 'Target'],
  ['sources', objects('sources'), 'Sources'],
  ['sources/:', object('sources'), 'Source'],
  ['replays', replays, 'Replays'],
  ['replays/:', replay, 'Replay'],
  ['scheduled', scheduled, 'Scheduled'],
  ['scheduled/:', scheduled, 'Scheduled'],
];

const menu = [['', 'Overview'], ['events', 'Events'], ['subscriptions', 'Subscriptions'], ['rules', 'Rules'], ['buses', 'Buses'],
  ['targets', 'Targets'], ['sources', 'Sources'], ['replays', 'Replays'], ['scheduled', 'Scheduled']];

function find(parts) {
  for (const [pattern, page, title] of pages) {
    const want = pattern === '' ? [] : pattern.split('/');
    if (want.length === parts.length && want.every((w, i) => w === ':' || w === parts[i])) {
      return { page, title, params: parts.filter((_, i) => want[i] === ':') };
    }
  }
  return null;
}

// showMenu marks the page that is open, and brings it into view on a phone.
function showMenu(open) {
  const nav = document.getElementById('nav');
  nav.replaceChildren(...menu.map(([name, label]) => h('a', { href: `#/${name}`, 'aria-current': open === name && 'page' }, label)));
  const here = nav.querySelector('[aria-current]');
  if (here) nav.scrollLeft = here.offsetLeft - nav.clientWidth / 3;
}

let running = new AbortController();
let shown = null;

async function show() {
  const [where, search] = location.hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  let parts;
  try {
    parts = where.split('/').filter((p) => p !== '').map(decodeURIComponent);
  } catch {
    parts = ['?']; // an escape that is none
  }
  running.abort();
  running = new AbortController();
  const found = find(parts);
  showMenu(parts[0] ?? '');
  for (const dialog of document.querySelectorAll('dialog')) dialog.remove();
  main.replaceChildren();
  const page = parts.join('/');
  if (shown !== null && shown !== page) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  shown = page;
  if (!found) {
    document.title = 'Not found · Switchyard';
    main.append(h('h1', {}, 'There is no such page'), h('p', {}, 'Choose one above, or go to the ', h('a', { href: '#/' }, 'overview'), '.'));
    return;
  }
  document.title = [...found.params, found.title, 'Switchyard'].join(' · ');
  const view = { main, params: found.params, query: new URLSearchParams(search), signal: running.signal };
  try {
    await found.page(view);
  } catch (err) {
    if (err.name === 'AbortError' || view.signal.aborted) return;
    for (const waiting of main.querySelectorAll('.loading')) waiting.remove();
    main.append(problem(err, show));
  }
}

window.addEventListener('hashchange', show);

document.getElementById('skip').onclick = (e) => {
  e.preventDefault(); // the address names the page
  main.focus();
};

document.getElementById('jump').onsubmit = (e) => {
  e.preventDefault();
  const input = document.getElementById('jump-to');
  const [bus, seq] = input.value.trim().split(/[\s#/]+/);
  if (!bus) return;
  location.hash = seq ? `#/events/${encodeURIComponent(bus)}/${encodeURIComponent(seq)}` : `#/events/${encodeURIComponent(bus)}`;
  input.value = '';
};

show();

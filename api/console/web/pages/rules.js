// Rules: what they match and why, and a place to try changes of them on events
// without saving anything.
import { h, fill, link, problem, failing, act, empty, code, heading, button, table, figures } from '../dom.js';
import { get, post, all, every, path, parse } from '../api.js';
import { time, state, to, many, count } from '../words.js';
import { block, after } from '../json.js';
import { showVerdict, showExplanation } from './event.js';
import { definition, origin, busYAML } from './objects.js';
import { narrowed } from './narrowed.js';
import { subscriptionTable, alarming } from './subscriptions.js';

const dialects = { when: 'CEL', pattern: 'event pattern', filters: 'CloudEvents filters', sql: 'CloudEvents SQL' };
const subscriptionsShown = 100;
const testsShown = 50;
const samplesShown = 10;

const dialectOf = (r) => Object.keys(dialects).find((d) => r[d] !== undefined && r[d] !== '');

// filterOf is a rule's filter as text.
function filterOf(r) {
  const d = dialectOf(r);
  if (!d) return '';
  return typeof r[d] === 'string' ? r[d].trim() : JSON.stringify(r[d], null, 2);
}

const short = (s) => (s.length > 140 ? s.slice(0, 140) + '…' : s);

const targetsOf = (r) => (r.targets ?? []).map((t, i) => [i > 0 && ', ', link(to.target(t), t)]);

const columns = [
  ['Name', (r) => [link(to.rule(r.name), r.name), r.status?.suspended && [' ', state('suspended')]]],
  ['Bus', (r) => link(to.events(r.bus), r.bus)],
  ['Filter', (r) => h('code', {}, short(filterOf(r)) || 'matches everything')],
  ['Targets', targetsOf],
  ['Matched', (r) => count(r.status?.matched), 'num'],
  ['Errors', (r) => alarming(r.status?.errors), 'num'],
];

// rules is the page of all.
export const rules = (page) => narrowed(page, {
  title: 'Rules', lead: 'Each looks at the events of a bus, and sends those that its filter matches to its targets.',
  hint: 'part of a name, bus or filter', from: 'v1/rules', ms: 5000, one: '#/rules/NAME',
  texts: (r) => [r.name, r.bus, filterOf(r)],
  show: (list) => table(columns, list, (r) => r.name),
  none: () => empty('There is no rule yet. Write a file such as this, and start the server with it:', code(busYAML), code('switchyard serve -c switchyard.yaml')),
  noMatch: 'No rule has that in it.',
});

// rule is the page of one.
export async function rule({ main, params: [name], signal }) {
  const failures = h('div');
  const about = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  const trial = h('section', { 'aria-label': 'Try it' });
  const past = h('section', { 'aria-label': 'Versions' });
  main.append(h('p', { class: 'crumbs' }, link('#/rules', 'Rules')), heading(name), failures, about, trial, past);
  let first = null;
  const where = path('rules', name);
  try {
    first = await get(where, {}, signal);
  } catch (err) {
    if (err.status !== 404) throw err;
    fill(failures, problem(err));
    fill(about);
  }
  await versions(past, where, signal);
  if (!first) return;
  every(4000, signal, async () => {
    const r = await get(where, {}, signal);
    const subs = await get('v1/subscriptions', { after: name + '/', limit: subscriptionsShown }, signal); // those of the rule come first there
    fill(failures);
    showRule(about, r, subs.items.filter((s) => s.rule === name));
  }, failing(failures, about));
  await tryIt(trial, first, signal);
}

const classes = {
  indexed: 'found by an index, whatever the number of rules', mixed: 'narrowed down by an index, then evaluated', scan: 'evaluated on every event of the bus',
};

function showRule(section, r, subs) {
  const st = r.status ?? {};
  const dialect = dialectOf(r);
  fill(section,
    h('p', { class: 'lead' }, 'On bus ', link(to.events(r.bus), r.bus), ', to ', targetsOf(r), `. Defined in ${origin(r)}.`),
    st.suspended && h('p', { class: 'banner bad' }, 'The rule is suspended: its filter costs too much. ', st.lastError),
    h('div', { class: 'panel' },
      figures(st.version > 0 && [st.version, 'version'], [count(st.evaluated), 'evaluated'], [count(st.matched), 'matched'], [count(st.errors), 'errors']),
      h('p', {}, 'What it matches is ', state(st.class), `: ${classes[st.class] ?? ''}`, st.classReason && h('span', { class: 'soft' }, ` – ${st.classReason}`)),
      st.lastError && h('p', {}, 'Last error: ', h('span', { class: 'bad-text' }, st.lastError)),
      (st.enrich ?? []).map((e) => h('p', {}, `It asks ${e.name}: circuit breaker `, state(e.breaker), ' ', e.reason))),
    h('h2', {}, `Filter${dialect ? ` in ${dialects[dialect]}` : ''}`), dialect ? code(filterOf(r)) : h('p', {}, 'None: it matches every event of its bus.'),
    h('details', { 'data-key': 'definition' }, h('summary', {}, 'The whole definition'), code(definition(r))),
    r.tests?.length > 0 && h('details', { 'data-key': 'tests' }, h('summary', {}, `${many(r.tests.length, 'test')} stand with it`),
      h('p', { class: 'note' }, 'switchyard rules test runs them.'),
      r.tests.slice(0, testsShown).map((t) => h('div', { class: 'two' }, block(t.event), h('div', {}, h('p', { class: 'note' }, 'Expected'), block(t.expect))))),
    h('h2', {}, 'Subscriptions'), subs.length > 0 ? subscriptionTable(subs) : h('p', { class: 'soft' }, 'None.'));
}

async function versions(section, where, signal) {
  let page;
  try {
    page = await get(where + '/versions', { limit: 50 }, signal);
  } catch (err) {
    if (err.status !== 404) throw err;
    return;
  }
  section.append(h('h2', {}, 'Versions'),
    h('div', { class: 'panel' }, page.items.map((v) => h('details', { class: 'verdict' },
      h('summary', {}, `Version ${v.version}, since `, time(v.since), v.current && [' ', state('in force')], v.removed && ' – the rule was removed'),
      v.bus && h('p', { class: 'note' }, `For events of ${v.bus} above #${v.after}.`), v.definition && block(v.definition)))),
    page.next && h('p', { class: 'note' }, 'Older ones are not shown.'));
}

// tryIt is a scratch copy of the rule, to be tried on an event and on history.
async function tryIt(section, r, signal) {
  const own = { dialect: dialectOf(r) ?? 'when', filter: filterOf(r), transform: r.transform ? JSON.stringify(r.transform, null, 2) : '' };
  const area = (id, rows, value, placeholder) => h('textarea', { id, rows, value, placeholder, spellcheck: 'false' });
  const place = (id, placeholder) => h('input', { id, placeholder, autocomplete: 'off' });
  const dialect = h('select', { id: 'dialect' }, Object.entries(dialects).map(([d, label]) => h('option', { value: d, selected: d === own.dialect }, label)));
  const filter = area('filter', 5, own.filter);
  const transform = area('transform', 7, own.transform, '{"data": {"order": "${{ event.data.id }}"}}');
  const event = area('event', 14);
  const enriched = r.enrich && area('enriched', 4, '', JSON.stringify(Object.fromEntries(Object.keys(r.enrich).map((name) => [name, {}]))));
  const from = place('from', 'sequence or time');
  const until = place('to', 'newest');
  const outcome = h('div');
  const answer = h('div', { class: 'answer' });

  // asked is the rule as it stands here: the one in force, while nothing was
  // changed.
  const asked = () => {
    const now = { dialect: dialect.value, filter: filter.value.trim(), transform: transform.value.trim() };
    const body = enriched?.value.trim() ? { enriched: json(enriched.value, 'answers') } : {};
    if (Object.keys(now).every((k) => now[k] === own[k])) return { ...body, rule: r.name };
    body.filter = {};
    if (now.filter) body.filter[now.dialect] = now.dialect === 'pattern' || now.dialect === 'filters' ? json(now.filter, 'filter') : now.filter;
    if (now.transform) body.transform = json(now.transform, 'transform');
    return body;
  };
  const trying = (work) => (e) => act(e.currentTarget, outcome, async () => {
    fill(answer);
    await work(asked());
  });
  const onEvent = trying(async (body) => {
    const before = json(event.value, 'event');
    showTrial(answer, await post('v1/rules/test', { ...body, event: before }), before);
  });
  const onHistory = trying(async (body) => {
    const range = { from: from.value.trim() || 1, to: until.value.trim() || undefined, bus: body.rule ? undefined : r.bus };
    await overHistory(answer, outcome, { ...body, ...range, samples: samplesShown }, r.bus);
  });

  section.append(h('h2', {}, 'Try it'), h('p', { class: 'note' }, 'Change the filter and the transform as you like: nothing is saved, and nothing is sent.'),
    h('div', { class: 'panel' }, h('div', { class: 'two' },
      h('div', { class: 'stack' }, h('label', {}, 'Dialect', dialect), h('label', {}, 'Filter', filter), h('label', {}, 'Transform (JSON)', transform)),
      h('div', { class: 'stack' }, h('label', {}, 'Event (JSON)', event), enriched && h('label', {}, 'What its enrichments answer (JSON): a test asks nobody', enriched))),
    h('div', { class: 'actions' }, button('Try it on the event', onEvent, { class: 'primary' }), button('Run it over what is stored', onHistory),
      h('label', { for: 'from' }, 'from'), from, h('label', { for: 'to' }, 'to'), until), outcome, answer));

  const found = await get('v1/events/search', { bus: r.bus, data: true, limit: 1 }, signal);
  const newest = found.items[0]?.event ?? { specversion: '1.0', id: '1', source: '/hello', type: 'com.example.hello', data: { text: 'hello' } };
  if (event.value === '') event.value = JSON.stringify(newest, null, 2); // what was typed meanwhile stays
}

// json reads what was typed; the error says where it is wrong.
function json(source, what) {
  try {
    return parse(source);
  } catch (err) {
    throw Object.assign(new Error(`The ${what} is not JSON: ${err.message}`), { title: 'It cannot be read.' });
  }
}

function showTrial(answer, res, before) {
  fill(answer, h('h3', {}, 'What came of it'), showVerdict('', res.matched, res.explanation, true),
    res.error && h('p', { class: 'banner bad' }, res.error),
    (res.warnings ?? []).map((w) => h('p', { class: 'banner warn' }, w.pointer && [h('code', {}, w.pointer), ' '], w.message)),
    res.event && h('div', { class: 'two' }, h('div', {}, h('p', { class: 'note' }, 'The event'), block(before)),
      h('div', {}, h('p', { class: 'note' }, 'What would be delivered; what is new is marked'), after(res.event, before))));
}

// overHistory runs a rule over stored events, a stretch of them a request, for as
// long as the reader wants.
async function overHistory(answer, outcome, body, bus) {
  const sum = { scanned: 0, matched: 0, failed: 0, transformFailed: 0 };
  const event = (m) => link(to.event(bus, m.sequence), `#${m.sequence}`);
  const samples = (key, title, list, open, show) => list.length > 0 && h('details', { open, 'data-key': key }, h('summary', {}, title),
    list.map((m) => h('div', { class: 'verdict' }, event(m), show(m))));
  const run = async (from) => {
    const found = await post('v1/rules/test', { ...body, from });
    for (const name of Object.keys(sum)) sum[name] += found[name];
    fill(answer, h('h3', {}, found.to > 0 ? `What is stored, up to #${found.to}` : 'Nothing is stored there'),
      figures([count(sum.scanned), 'looked at'], [count(sum.matched), 'match'], [count(sum.failed), 'the filter fails on'], [count(sum.transformFailed), 'the transform fails on']),
      found.note && h('p', { class: 'note' }, found.note),
      !found.complete && h('p', {}, 'The time of one request was over. ', button('Go on', (e) => act(e.currentTarget, outcome, () => run(found.next)))),
      samples('matches', 'The last that match, as they would be delivered', found.matches, true, (m) => block(m.event)),
      samples('misses', 'The nearest misses', found.nearMisses, false, (m) => [` by ${many(m.misses, 'condition')}: ${m.explanation.summary}`, showExplanation(m.explanation)]),
      samples('failures', 'Failures', found.failures, true, (m) => [` the ${m.stage} fails: `, h('span', { class: 'bad-text' }, m.error)]));
  };
  await run(body.from);
}

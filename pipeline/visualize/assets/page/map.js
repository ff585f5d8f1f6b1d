// The heat map of the report: blocks by the modules in them.

(() => {
    'use strict';

    const { count, data, make } = window.page;
    const { CHANGES, at, changed, isPicked, link, own, percent, short } = window.report;

    const VIRIDIS = ['#440154', '#472d7b', '#3b528b', '#2c728e', '#21918c', '#28ae80', '#5ec962', '#addc30', '#fde725'];
    const rgb = (colour) => [1, 3, 5].map((from) => parseInt(colour.slice(from, from + 2), 16));
    const colourAt = (share) => {
        const exact = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
        const below = Math.min(Math.floor(exact), VIRIDIS.length - 2);
        const [from, to] = [rgb(VIRIDIS[below]), rgb(VIRIDIS[below + 1])];
        return from.map((value, index) => Math.round(value + (exact - below) * (to[index] - value)));
    };
    // The one of black and white that can be read better, by WCAG's relative luminance: 4.5:1 or more.
    const inkOn = (colour) => {
        const [r, g, b] = colour.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000' : '#fff';
    };
    const MEASURES = [
        { key: 'relative', name: 'update', title: 'update, relative to the weights', value: (module) => module.relative_update, text: percent },
        { key: 'norm', name: 'norm', title: 'norm of the update', value: (module) => module.update_norm, text: short },
        { key: 'rank', name: 'rank', title: 'rank of the adapter', value: (module) => module.r, text: String },
        { key: 'parameters', name: 'parameters', title: 'parameters that train', value: (module) => module.trainable, text: count }
    ];
    const cells = []; // {element, module}

    const cell = (module, tab) => {
        const element = link(module, { class: 'cell', tabindex: tab ? '0' : '-1' });
        cells.push({ element, module });
        return element;
    };

    const table = () => {
        const inBlocks = data.modules.filter((module) => module.block && own(module) > 0);
        const blocks = [...new Set(inBlocks.map((module) => module.block))];
        let parts = [...new Set(inBlocks.map((module) => module.part))];
        if (parts.length > 40) {
            parts = [...new Set(inBlocks.filter(changed).map((module) => module.part))];
        }
        if (blocks.length === 0 || parts.length === 0) {
            return null;
        }
        const found = new Map(inBlocks.map((module) => [`${module.block}\n${module.part}`, module]));
        const stems = new Set(blocks.map((block) => block.slice(0, block.lastIndexOf('.') + 1)));
        const [stem] = stems;
        const row = (block) => (stems.size === 1 ? block.slice(stem.length) : block);
        const broken = (part) => part.split(/(?<=[._])/).flatMap((piece) => [piece, document.createElement('wbr')]);
        let first = true;
        const body = blocks.map((block) => make('tr', {}, make('th', { scope: 'row', title: block }, row(block)),
            ...parts.map((part) => {
                const module = found.get(`${block}\n${part}`);
                const inside = module ? cell(module, first) : null;
                first = first && !module;
                return make('td', {}, inside);
            })));
        const heads = parts.map((part) => make('th', { scope: 'col', title: part }, ...broken(part)));
        return make('table', { 'aria-label': 'Modules of each block; arrow keys move, Enter opens' },
            make('thead', {}, make('tr', {}, make('th', { title: stem }), ...heads)), make('tbody', {}, ...body));
    };

    const others = (alone) => {
        const all = data.modules.filter((module) => !module.block && own(module) > 0);
        const shown = alone && all.length <= 60 ? all : all.filter(changed);
        const rest = all.length - shown.length;
        return make('div', { id: 'others' },
            ...shown.map((module) => make('div', {}, make('span', {}, module.name), cell(module, true))),
            rest > 0 && make('div', {}, `${alone ? '' : 'outside the blocks, '}${rest} untouched`));
    };

    const colour = (measure) => {
        const known = (roles) => cells.filter(({ module }) => changed(module) && roles.includes(module.role))
            .map(({ module }) => measure.value(module)).filter((value) => typeof value === 'number');
        // What trains in full changes more, and would leave the adapters one colour.
        const adapted = known(['adapted']);
        const values = adapted.length > 0 ? adapted : known(['adapted', 'trained']);
        const beyond = known(['trained']).some((value) => value > Math.max(...values));
        const most = Math.max(...values);
        const least = measure.key === 'rank' || measure.key === 'parameters' ? Math.min(...values) : 0;
        const share = (value) => (most > least ? (value - least) / (most - least) : 0.5);
        for (const { element, module } of cells) {
            const value = measure.value(module);
            const told = changed(module) && typeof value === 'number';
            element.className = `cell${changed(module) ? (told ? '' : ' unknown') : ' untouched'}${isPicked(module) ? ' picked' : ''}`;
            const [fill, text] = told ? [colourAt(share(value)), measure.text(value)] : [null, changed(module) ? (module.change === 'bias' ? 'bias' : 'full') : ''];
            element.style.background = fill ? `rgb(${fill})` : '';
            element.style.color = fill ? inkOn(fill) : '';
            element.textContent = text;
            element.setAttribute('aria-label', `${module.name}: ${told ? `${measure.title} ${text}` : changed(module) ? CHANGES[module.change] : 'untouched'}`);
        }
        const ticks = values.length === 0 ? [] : most > least ? [least, most] : [most];
        at('scale').replaceChildren(...[
            make('span', {}, measure.title),
            ticks.length > 1 && make('span', { class: 'number' }, measure.text(ticks[0])),
            make('span', { class: 'gradient', style: { background: ticks.length > 1 ? `linear-gradient(to right, ${VIRIDIS.join()})` : `rgb(${colourAt(0.5)})` } }),
            ticks.length > 0 && make('span', { class: 'number' }, `${measure.text(ticks[ticks.length - 1])}${beyond ? ' and more' : ''}`),
            make('span', { class: 'swatch cell untouched apart' }), make('span', {}, 'untouched')
        ].filter(Boolean));
        for (const button of at('measures').children) {
            button.setAttribute('aria-checked', String(button.dataset.key === measure.key));
            button.tabIndex = button.dataset.key === measure.key ? 0 : -1;
        }
    };

    // Arrow keys move among the cells, of which one is reached by Tab.
    const walk = (event) => {
        const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
        const here = event.target.closest('td');
        if (!here || !steps[event.key]) {
            return;
        }
        event.preventDefault();
        const [dx, dy] = steps[event.key];
        const rows = Array.from(here.closest('tbody').rows);
        let [x, y] = [here.cellIndex + dx, rows.indexOf(here.parentElement) + dy];
        while (rows[y] && rows[y].cells[x]) {
            const next = rows[y].cells[x].querySelector('a');
            if (next) {
                event.target.tabIndex = -1;
                next.tabIndex = 0;
                next.focus();
                return;
            }
            [x, y] = [x + dx, y + dy];
        }
    };

    const has = (measure) => cells.some(({ module }) => changed(module) && typeof measure.value(module) === 'number');
    const showMap = () => {
        const blocks = table();
        at('cells').append(...[blocks, others(!blocks)].filter(Boolean));
        colour(MEASURES.find(has) || MEASURES[3]); // the widths depend on the values
        if (blocks && blocks.offsetWidth > at('cells').clientWidth) {
            blocks.className = 'many';
        }
        at('cells').addEventListener('keydown', walk);
        const buttons = MEASURES.map((measure) => make('button', {
            type: 'button', role: 'radio', 'data-key': measure.key, title: has(measure) ? measure.title : `${measure.title}: not known`,
            disabled: !has(measure), onclick: () => colour(measure)
        }, measure.name));
        at('measures').append(...buttons);
        at('measures').addEventListener('keydown', (event) => {
            const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
            const open = buttons.filter((button) => !button.disabled);
            const next = step && open[open.indexOf(event.target) + step];
            if (next) {
                next.click();
                next.focus();
            }
        });
        colour(MEASURES.find(has) || MEASURES[3]);
    };

    showMap();
})();

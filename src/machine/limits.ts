export * from '../shared/limits.js';

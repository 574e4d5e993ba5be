// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Owned} from "contracts/Owned.sol";
import {KeyServerLists} from "contracts/interfaces/KeyServerLists.sol";
import {KeyServerSet} from "contracts/interfaces/KeyServerSet.sol";

/// Where a key server sits in the current set, and which set that is.
struct Seat {
    uint256 index;
    uint256 count;
    /// Never 0; another value means another set of key servers.
    uint40 epoch;
}

/// What all services share: who is a key server, what each has earned, how long requests live.
///
/// Fees are credited at once. Under the first set contract they are booked as sums per list of key
/// servers and divided when somebody drains. A set contract without `KeyServerLists` cannot tell
/// later who was a member, and one that the owner chose later must have no say in what was earned
/// before: with such a one every key server is credited by itself.
abstract contract ServiceBase is Owned {
    event KeyServerSetChanged(address indexed old, address indexed current);
    event RequestLifetimeChanged(uint256 blocks);
    event Drained(address indexed keyServer, uint256 amount);

    error NotKeyServer();
    error NotAContract();
    error NoKeyServers();
    error NothingToDrain();
    error PaymentFailed();
    error Reentered();
    error ValueTooLarge();
    error InvalidPoint();

    uint256 private constant DEFAULT_LIFETIME_BLOCKS = 600;
    uint256 private constant MAX_SET_VERSION = type(uint8).max;

    /// The set in use; `version` counts the replacements of the set contract, from 1.
    struct SetReference {
        address keyServerSet;
        uint8 version;
        bool keepsLists;
        bool draining;
        uint32 lifetimeBlocks;
    }

    /// Fees paid while one list was current: `share` to each of its members, `remainder` to the
    /// last one on top.
    struct Ledger {
        uint40 epoch;
        uint96 share;
        uint48 remainder;
        uint32 number;
    }

    /// `credited` by itself, plus its part of all ledgers from number `ledger` on, less what it has
    /// `drained` of that first one.
    struct Account {
        uint96 credited;
        uint96 drained;
        uint32 ledger;
    }

    SetReference private _set;
    Ledger private _openLedger;
    mapping(uint256 number => Ledger) private _closedLedgers;
    mapping(address keyServer => Account) private _accounts;
    address private immutable _firstSet;

    constructor(address keyServerSetAddressInit) {
        _firstSet = keyServerSetAddressInit;
        _useSet(keyServerSetAddressInit, 1);
        _set.lifetimeBlocks = uint32(DEFAULT_LIFETIME_BLOCKS);
        // Written here, so that the first client does not pay for a fresh slot.
        _openLedger.epoch = 1;
    }

    // --- key servers

    function keyServersCount() external view returns (uint8) {
        return KeyServerSet(_set.keyServerSet).getCurrentKeyServersCount();
    }

    /// Index of a current key server; reverts for anybody else.
    function requireKeyServer(address keyServer) external view returns (uint8) {
        return uint8(_seatOf(keyServer).index);
    }

    function keyServerSetAddress() external view returns (address) {
        return _set.keyServerSet;
    }

    /// Serves another set of key servers from now on; all answers collected so far are dropped.
    function setKeyServerSetAddress(address newKeyServerSet) external onlyOwner {
        emit KeyServerSetChanged(_set.keyServerSet, newKeyServerSet);
        _useSet(newKeyServerSet, uint256(_set.version) + 1);
    }

    // --- money

    /// Pays the caller all it has earned.
    function drain() external {
        SetReference memory set = _set;
        if (set.draining) revert Reentered();
        (uint256 due, uint256 ofOpenLedger) = _dueTo(msg.sender);
        if (due == 0) revert NothingToDrain();
        _accounts[msg.sender] = Account(0, uint96(ofOpenLedger), _openLedger.number);
        _set.draining = true;
        (bool paid,) = msg.sender.call{value: due}("");
        if (!paid) revert PaymentFailed();
        _set.draining = false;
        emit Drained(msg.sender, due);
    }

    function keyServerBalance(address keyServer) external view returns (uint256 due) {
        (due,) = _dueTo(keyServer);
    }

    // --- life time of requests

    /// Blocks after which anybody may end an unanswered request; 0: never.
    function requestLifetimeBlocks() external view returns (uint256) {
        return _set.lifetimeBlocks;
    }

    function setRequestLifetimeBlocks(uint256 blocks) external onlyOwner {
        if (blocks > type(uint32).max) revert ValueTooLarge();
        _set.lifetimeBlocks = uint32(blocks);
        emit RequestLifetimeChanged(blocks);
    }

    // --- for the services

    function _seatOf(address keyServer) internal view returns (Seat memory seat) {
        SetReference memory set = _set;
        if (set.keepsLists) {
            (uint256 list, uint256 count, uint256 place) =
                KeyServerLists(set.keyServerSet).getCurrentPlace(keyServer);
            if (place == 0 || place > count) revert NotKeyServer();
            unchecked {
                return Seat(place - 1, count, _epochOfList(set.version, list, count));
            }
        }
        KeyServerSet keyServers = KeyServerSet(set.keyServerSet);
        seat.index = keyServers.getCurrentKeyServerIndex(keyServer);
        seat.count = _countOf(keyServers);
        seat.epoch = uint40(uint256(set.version) << 32 | uint32(keyServers.getCurrentLastChange()));
    }

    /// Credits `msg.value` to the current key servers and tells their number.
    function _collectFee() internal returns (uint256 count) {
        SetReference memory set = _set;
        if (set.draining) revert Reentered();
        if (!set.keepsLists || set.keyServerSet != _firstSet) {
            return _creditEach(KeyServerSet(set.keyServerSet));
        }
        uint256 list;
        (list, count) = KeyServerLists(set.keyServerSet).getCurrentList();
        if (count == 0) revert NoKeyServers();
        if (msg.value != 0) _credit(_epochOfList(set.version, list, count), count);
    }

    function _isPoint(bytes calldata point) internal pure {
        if (point.length != 64) revert InvalidPoint();
    }

    function _isExpired(uint256 createdAt) internal view returns (bool) {
        uint256 lifetime = _set.lifetimeBlocks;
        return lifetime != 0 && block.number >= createdAt + lifetime;
    }

    // --- inside

    function _useSet(address keyServerSet, uint256 version) private {
        if (keyServerSet.code.length == 0) revert NotAContract();
        if (version > MAX_SET_VERSION) revert ValueTooLarge();
        (bool answered, bytes memory answer) =
            keyServerSet.staticcall(abi.encodeCall(KeyServerLists.getCurrentList, ()));
        _set.keyServerSet = keyServerSet;
        _set.version = uint8(version);
        _set.keepsLists = answered && answer.length == 64;
    }

    function _epochOfList(uint256 version, uint256 list, uint256 count) private pure returns (uint40) {
        return uint40(version << 32 | list << 9 | count);
    }

    /// The list is asked for only where the count cannot be said in a uint8.
    function _countOf(KeyServerSet keyServers) private view returns (uint256 count) {
        try keyServers.getCurrentKeyServersCount() returns (uint8 told) {
            count = told;
        } catch {}
        if (count == 0) count = keyServers.getCurrentKeyServers().length;
    }

    function _credit(uint40 epoch, uint256 count) private {
        Ledger memory ledger = _openLedger;
        if (ledger.epoch != epoch) {
            if (ledger.share != 0 || ledger.remainder != 0) {
                _closedLedgers[ledger.number] = ledger;
                ledger = Ledger(epoch, 0, 0, ledger.number + 1);
            }
            ledger.epoch = epoch;
        }
        uint256 share = ledger.share + msg.value / count;
        if (share > type(uint96).max) revert ValueTooLarge();
        ledger.share = uint96(share);
        ledger.remainder += uint48(msg.value % count);
        _openLedger = ledger;
    }

    function _creditEach(KeyServerSet keyServers) private returns (uint256 count) {
        address[] memory members = keyServers.getCurrentKeyServers();
        count = members.length;
        if (count == 0) revert NoKeyServers();
        if (msg.value == 0) return count;
        if (msg.value > type(uint96).max) revert ValueTooLarge();
        uint96 share = uint96(msg.value / count);
        for (uint256 i = 0; i < count - 1; ++i) {
            _accounts[members[i]].credited += share;
        }
        _accounts[members[count - 1]].credited += uint96(msg.value - share * (count - 1));
    }

    /// All that is owed, and how much of all paid into the open ledger belongs to this server.
    function _dueTo(address keyServer) private view returns (uint256 due, uint256 ofLedger) {
        Account memory account = _accounts[keyServer];
        Ledger memory open = _openLedger;
        due = account.credited;
        for (uint256 number = account.ledger; number <= open.number; ++number) {
            ofLedger = _partOf(number == open.number ? open : _closedLedgers[number], keyServer);
            due += ofLedger;
        }
        due -= account.drained;
    }

    function _partOf(Ledger memory ledger, address keyServer) private view returns (uint256) {
        if (ledger.share == 0 && ledger.remainder == 0) return 0;
        uint256 count = ledger.epoch & 0x1ff;
        uint256 list = ledger.epoch >> 9 & 0x7fffff;
        uint256 place = KeyServerLists(_firstSet).getPlace(list, keyServer);
        if (place == 0 || place > count) return 0;
        return place == count ? uint256(ledger.share) + ledger.remainder : ledger.share;
    }
}

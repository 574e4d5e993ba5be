// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Owned} from "contracts/Owned.sol";
import {MetadataRegistry} from "contracts/interfaces/MetadataRegistry.sol";

/// Names that can be bought, and values their owners keep under them.
///
/// A name is the keccak-256 of its text. A dropped name is dead for ever. A *reverse* is the address
/// that a name stands for, once that address has agreed.
contract SimpleRegistry is Owned, MetadataRegistry {
    event Reserved(bytes32 indexed name, address indexed owner);
    event Transferred(bytes32 indexed name, address indexed oldOwner, address indexed newOwner);
    event Dropped(bytes32 indexed name, address indexed owner);
    event ReverseProposed(string name, address indexed reverse);
    event ReverseConfirmed(string name, address indexed reverse);
    event ReverseRemoved(string name, address indexed reverse);
    event FeeChanged(uint256 amount);
    event Drained(uint256 amount);

    error NameTaken();
    error FeeNotPaid();
    error UnknownName();
    error NotNameOwner();
    error NameOwnerIsZero();
    error NotProposed();
    error PaymentFailed();

    struct Entry {
        address owner;
        bool dropped;
        address reverse;
        mapping(string key => bytes32) values;
    }

    uint256 public fee = 1 ether;
    mapping(bytes32 name => Entry) private _entries;
    mapping(address account => string name) private _reverses;

    modifier whenLive(bytes32 name) {
        if (_entries[name].owner == address(0) || _entries[name].dropped) revert UnknownName();
        _;
    }

    modifier onlyNameOwner(bytes32 name) {
        if (_entries[name].owner != msg.sender) revert NotNameOwner();
        if (_entries[name].dropped) revert UnknownName();
        _;
    }

    // --- names

    /// All that is paid is kept, also more than the fee.
    function reserve(bytes32 _name) external payable returns (bool success) {
        if (_entries[_name].owner != address(0)) revert NameTaken();
        if (msg.value < fee) revert FeeNotPaid();
        _entries[_name].owner = msg.sender;
        emit Reserved(_name, msg.sender);
        return true;
    }

    function transfer(bytes32 _name, address _to) external onlyNameOwner(_name) returns (bool success) {
        if (_to == address(0)) revert NameOwnerIsZero();
        _entries[_name].owner = _to;
        emit Transferred(_name, msg.sender, _to);
        return true;
    }

    function drop(bytes32 _name) external onlyNameOwner(_name) returns (bool success) {
        address account = _entries[_name].reverse;
        _entries[_name].reverse = address(0);
        _forgetReverse(_name, account);
        _entries[_name].dropped = true;
        emit Dropped(_name, msg.sender);
        return true;
    }

    function getOwner(bytes32 _name) external view whenLive(_name) returns (address) {
        return _entries[_name].owner;
    }

    function reserved(bytes32 _name) external view whenLive(_name) returns (bool) {
        return true;
    }

    // --- values

    function setData(bytes32 _name, string calldata _key, bytes32 _value)
        external
        onlyNameOwner(_name)
        returns (bool success)
    {
        return _set(_name, _key, _value);
    }

    function setAddress(bytes32 _name, string calldata _key, address _value)
        external
        onlyNameOwner(_name)
        returns (bool success)
    {
        return _set(_name, _key, bytes32(uint256(uint160(_value))));
    }

    function setUint(bytes32 _name, string calldata _key, uint256 _value)
        external
        onlyNameOwner(_name)
        returns (bool success)
    {
        return _set(_name, _key, bytes32(_value));
    }

    function getData(bytes32 _name, string calldata _key) external view whenLive(_name) returns (bytes32) {
        return _entries[_name].values[_key];
    }

    function getAddress(bytes32 _name, string calldata _key)
        external
        view
        whenLive(_name)
        returns (address)
    {
        return address(uint160(uint256(_entries[_name].values[_key])));
    }

    function getUint(bytes32 _name, string calldata _key) external view whenLive(_name) returns (uint256) {
        return uint256(_entries[_name].values[_key]);
    }

    // --- reverses

    function proposeReverse(string calldata _name, address _who)
        external
        onlyNameOwner(keccak256(bytes(_name)))
        returns (bool success)
    {
        bytes32 name = keccak256(bytes(_name));
        _forgetReverse(name, _entries[name].reverse);
        _entries[name].reverse = _who;
        emit ReverseProposed(_name, _who);
        return true;
    }

    function confirmReverse(string calldata _name) external returns (bool success) {
        return _confirm(_name, msg.sender);
    }

    function confirmReverseAs(string calldata _name, address _who)
        external
        onlyOwner
        returns (bool success)
    {
        return _confirm(_name, _who);
    }

    function removeReverse() external {
        bytes32 name = keccak256(bytes(_reverses[msg.sender]));
        if (_entries[name].reverse == msg.sender) _entries[name].reverse = address(0);
        _forgetReverse(name, msg.sender);
    }

    function hasReverse(bytes32 _name) external view whenLive(_name) returns (bool) {
        return _entries[_name].reverse != address(0);
    }

    function getReverse(bytes32 _name) external view whenLive(_name) returns (address) {
        return _entries[_name].reverse;
    }

    function canReverse(address _data) external view returns (bool) {
        return bytes(_reverses[_data]).length != 0;
    }

    function reverse(address _data) external view returns (string memory) {
        return _reverses[_data];
    }

    // --- registry owner

    function setFee(uint256 _amount) external onlyOwner returns (bool) {
        fee = _amount;
        emit FeeChanged(_amount);
        return true;
    }

    function drain() external onlyOwner returns (bool) {
        uint256 amount = address(this).balance;
        emit Drained(amount);
        (bool paid,) = msg.sender.call{value: amount}("");
        if (!paid) revert PaymentFailed();
        return true;
    }

    // --- inside

    function _set(bytes32 name, string calldata key, bytes32 value) private returns (bool) {
        _entries[name].values[key] = value;
        emit DataChanged(name, key, key);
        return true;
    }

    function _confirm(string calldata _name, address account) private returns (bool) {
        bytes32 name = keccak256(bytes(_name));
        if (account == address(0) || _entries[name].reverse != account || _entries[name].dropped) {
            revert NotProposed();
        }
        _reverses[account] = _name;
        emit ReverseConfirmed(_name, account);
        return true;
    }

    /// Takes the name from the account if that had confirmed this very name.
    function _forgetReverse(bytes32 name, address account) private {
        string memory confirmed = _reverses[account];
        if (bytes(confirmed).length == 0 || keccak256(bytes(confirmed)) != name) return;
        delete _reverses[account];
        emit ReverseRemoved(confirmed, account);
    }
}
